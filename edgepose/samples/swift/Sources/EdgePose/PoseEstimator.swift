// One person at a time: frame and box in, joints in frame pixels out. SPDX-License-Identifier: Apache-2.0
#if canImport(CoreML)
import CoreGraphics
import CoreML
import CoreVideo
import Foundation

/// Not to be called from two threads at once. Where the artifact has several crop sizes, each person gets
/// the one that fits the box.
public final class PoseEstimator {
    private struct Loaded {
        let network: Network
        let model: MLModel
        let input: CVPixelBuffer
    }

    public let contract: Contract
    private let loaded: [Loaded]

    /// folder: the artifact, e.g. a folder reference in the app: artifact.json and the .mlpackage
    /// precision: nil for the counted package, "fp16" for the one beside it
    public init(
        folder: URL, precision: String? = nil, configuration: MLModelConfiguration = MLModelConfiguration()
    ) throws {
        contract = try Contract.read(folder)
        var models: [String: MLModel] = [:]
        loaded = try contract.networks(precision: precision).map { network -> Loaded in
            if models[network.package] == nil {
                let package = folder.appendingPathComponent(network.package)
                models[network.package] = try MLModel(
                    contentsOf: try MLModel.compileModel(at: package), configuration: configuration)
            }
            guard let model = models[network.package] else {
                throw PoseError("\(network.package) was not loaded")
            }
            var buffer: CVPixelBuffer?
            let surface = [kCVPixelBufferIOSurfacePropertiesKey: [:]] as CFDictionary
            let (width, height) = (network.size.width, network.size.height)
            CVPixelBufferCreate(nil, width, height, kCVPixelFormatType_32BGRA, surface, &buffer)
            guard let input = buffer else { throw PoseError("no memory for a crop of \(width) x \(height)") }
            return Loaded(network: network, model: model, input: input)
        }
    }

    /// frame: kCVPixelFormatType_32BGRA; box: of the person, in its pixels
    public func joints(in frame: CVPixelBuffer, box: Box) throws -> [Joint] {
        guard CVPixelBufferGetPixelFormatType(frame) == kCVPixelFormatType_32BGRA else {
            throw PoseError("set the camera's pixel format to kCVPixelFormatType_32BGRA")
        }
        CVPixelBufferLockBaseAddress(frame, .readOnly)
        defer { CVPixelBufferUnlockBaseAddress(frame, .readOnly) }
        guard let base = CVPixelBufferGetBaseAddress(frame) else { throw PoseError("the frame is empty") }
        let image = Pixels(
            pixels: UnsafePointer(base.assumingMemoryBound(to: UInt8.self)),
            width: CVPixelBufferGetWidth(frame), height: CVPixelBufferGetHeight(frame),
            rowBytes: CVPixelBufferGetBytesPerRow(frame), pixelBytes: 4, red: 2, green: 1, blue: 0)
        return try joints(in: image, box: box)
    }

    /// picture: upright; a UIImage's cgImage is as the camera held it, see its imageOrientation
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
            let image = Pixels(
                pixels: UnsafePointer(base.assumingMemoryBound(to: UInt8.self)),
                width: picture.width, height: picture.height,
                rowBytes: picture.width * 4, pixelBytes: 4, red: 0, green: 1, blue: 2)
            return try joints(in: image, box: box)
        }
    }

    private func joints(in image: Pixels, box: Box) throws -> [Joint] {
        let one = loaded[try Numerics.chooseSize(box: box, sizes: loaded.map { $0.network.size })]
        let size = one.network.size
        let centers = contract.crop.alignment == "centers"
        let matrix = try Numerics.cropMatrix(
            box: box, padding: contract.crop.padding, outWidth: size.width, outHeight: size.height,
            centers: centers)
        fill(one, Numerics.crop(image, matrix: matrix, outWidth: size.width, outHeight: size.height))
        let found = try predict(one)
        let count = contract.skeleton.joints.count
        guard let heatmap = one.network.heatmap else {
            let joints = try Numerics.readJoints(found, joints: count)
            return Numerics.toImage(joints, matrix: matrix, pitchX: 1.0, pitchY: 1.0)
        }
        let codec = contract.codec
        let joints = try Numerics.decode(
            found, joints: count, height: heatmap.height, width: heatmap.width, rule: codec.rule,
            sigma: Numerics.sigmaPixels(codec.sigma, height: heatmap.height, width: heatmap.width))
        return Numerics.toImage(
            joints, matrix: matrix,
            pitchX: Numerics.pitch(stride: codec.stride, count: heatmap.width, centers: centers),
            pitchY: Numerics.pitch(stride: codec.stride, count: heatmap.height, centers: centers))
    }

    /// RGB bytes into the model's image. The model normalises, in its own channel order.
    private func fill(_ one: Loaded, _ rgb: [UInt8]) {
        CVPixelBufferLockBaseAddress(one.input, [])
        defer { CVPixelBufferUnlockBaseAddress(one.input, []) }
        guard let base = CVPixelBufferGetBaseAddress(one.input) else { return }
        let bytes = base.assumingMemoryBound(to: UInt8.self)
        let rowBytes = CVPixelBufferGetBytesPerRow(one.input)
        let (width, height) = (one.network.size.width, one.network.size.height)
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

    private func predict(_ one: Loaded) throws -> [Float] {
        let image = MLFeatureValue(pixelBuffer: one.input)
        let features = try MLDictionaryFeatureProvider(dictionary: [one.network.input: image])
        let result = try one.model.prediction(from: features)
        guard let array = result.featureValue(for: one.network.output)?.multiArrayValue else {
            throw PoseError("the model gives no \(one.network.output)")
        }
        return MLShapedArray<Float>(converting: array).scalars
    }
}
#endif
