// One person at a time: frame and box in, joints in frame pixels out. SPDX-License-Identifier: Apache-2.0
#if canImport(CoreML)
import CoreGraphics
import CoreML
import CoreVideo
import Foundation

/// Not to be called from two threads at once.
public final class PoseEstimator {
    public let contract: Contract
    private let model: MLModel
    private let width, height, heatmapWidth, heatmapHeight: Int
    private let input: CVPixelBuffer

    /// folder: the artifact, e.g. a folder reference in the app: artifact.json and the .mlpackage
    /// precision: nil for the counted package, "fp16" for the one beside it
    public init(
        folder: URL, precision: String? = nil, configuration: MLModelConfiguration = MLModelConfiguration()
    ) throws {
        contract = try Contract.read(folder)
        let package = folder.appendingPathComponent(try contract.package(precision: precision))
        let compiled = try MLModel.compileModel(at: package)
        model = try MLModel(contentsOf: compiled, configuration: configuration)
        width = try contract.input.side("W")
        height = try contract.input.side("H")
        heatmapWidth = try contract.output.side("W")
        heatmapHeight = try contract.output.side("H")
        var buffer: CVPixelBuffer?
        let surface = [kCVPixelBufferIOSurfacePropertiesKey: [:]] as CFDictionary
        CVPixelBufferCreate(nil, width, height, kCVPixelFormatType_32BGRA, surface, &buffer)
        guard let made = buffer else { throw PoseError("no memory for a crop of \(width) x \(height)") }
        input = made
    }

    /// frame: kCVPixelFormatType_32BGRA; box: of the person, in its pixels
    public func joints(in frame: CVPixelBuffer, box: Box) throws -> [Joint] {
        guard CVPixelBufferGetPixelFormatType(frame) == kCVPixelFormatType_32BGRA else {
            throw PoseError("set the camera's pixel format to kCVPixelFormatType_32BGRA")
        }
        CVPixelBufferLockBaseAddress(frame, .readOnly)
        defer { CVPixelBufferUnlockBaseAddress(frame, .readOnly) }
        guard let base = CVPixelBufferGetBaseAddress(frame) else { throw PoseError("the frame is empty") }
        let image = Image(
            pixels: UnsafePointer(base.assumingMemoryBound(to: UInt8.self)),
            width: CVPixelBufferGetWidth(frame), height: CVPixelBufferGetHeight(frame),
            rowBytes: CVPixelBufferGetBytesPerRow(frame), pixelBytes: 4, red: 2, green: 1, blue: 0)
        return try joints(in: image, box: box)
    }

    public func joints(in picture: CGImage, box: Box) throws -> [Joint] {
        var pixels = [UInt8](repeating: 0, count: picture.width * picture.height * 4)
        return try pixels.withUnsafeMutableBytes { bytes -> [Joint] in
            let context = CGContext(
                data: bytes.baseAddress, width: picture.width, height: picture.height,
                bitsPerComponent: 8, bytesPerRow: picture.width * 4,
                space: CGColorSpaceCreateDeviceRGB(), bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
            guard let canvas = context, let base = bytes.baseAddress else {
                throw PoseError("no memory for a picture of \(picture.width) x \(picture.height)")
            }
            canvas.draw(picture, in: CGRect(x: 0, y: 0, width: picture.width, height: picture.height))
            let image = Image(
                pixels: UnsafePointer(base.assumingMemoryBound(to: UInt8.self)),
                width: picture.width, height: picture.height,
                rowBytes: picture.width * 4, pixelBytes: 4, red: 0, green: 1, blue: 2)
            return try joints(in: image, box: box)
        }
    }

    private func joints(in image: Image, box: Box) throws -> [Joint] {
        let centers = contract.crop.alignment == "centers"
        let matrix = try Numerics.cropMatrix(
            box: box, padding: contract.crop.padding, outWidth: width, outHeight: height, centers: centers)
        fill(Numerics.crop(image, matrix: matrix, outWidth: width, outHeight: height))
        let codec = contract.codec
        let found = try Numerics.decode(
            try heatmaps(), joints: contract.skeleton.joints.count, height: heatmapHeight, width: heatmapWidth,
            rule: codec.rule,
            sigma: Numerics.sigmaPixels(codec.sigma, height: heatmapHeight, width: heatmapWidth))
        return Numerics.toImage(
            found, matrix: matrix,
            pitchX: Numerics.pitch(stride: codec.stride, count: heatmapWidth, centers: centers),
            pitchY: Numerics.pitch(stride: codec.stride, count: heatmapHeight, centers: centers))
    }

    /// RGB bytes into the model's image. The model normalises, in its own channel order.
    private func fill(_ rgb: [UInt8]) {
        CVPixelBufferLockBaseAddress(input, [])
        defer { CVPixelBufferUnlockBaseAddress(input, []) }
        guard let base = CVPixelBufferGetBaseAddress(input) else { return }
        let bytes = base.assumingMemoryBound(to: UInt8.self)
        let rowBytes = CVPixelBufferGetBytesPerRow(input)
        for row in 0..<height {
            for column in 0..<width {
                let from = (row * width + column) * 3
                let to = row * rowBytes + column * 4
                bytes[to] = rgb[from + 2]
                bytes[to + 1] = rgb[from + 1]
                bytes[to + 2] = rgb[from]
                bytes[to + 3] = 255
            }
        }
    }

    private func heatmaps() throws -> [Float] {
        let image = MLFeatureValue(pixelBuffer: input)
        let features = try MLDictionaryFeatureProvider(dictionary: [contract.input.name: image])
        let result = try model.prediction(from: features)
        guard let array = result.featureValue(for: contract.output.name)?.multiArrayValue else {
            throw PoseError("the model gives no \(contract.output.name)")
        }
        return MLShapedArray<Float>(converting: array).scalars
    }
}
#endif
