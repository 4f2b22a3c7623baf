// From a person's box to joints: crop and decode. Foundation, nothing else.
// Coordinates are pixels, 0-based, pixel centres at integers; C++'s pose_numerics.hpp has the same
// functions line by line. SPDX-License-Identifier: Apache-2.0
import Foundation

/// A person's box, image pixels.
public struct Box: Sendable {
    public var x, y, width, height: Double

    public init(x: Double, y: Double, width: Double, height: Double) {
        self.x = x
        self.y = y
        self.width = width
        self.height = height
    }
}

/// x' = a x + b y + c, y' = d x + e y + f
public struct Affine: Sendable {
    public var a, b, c, d, e, f: Double
}

public struct Joint: Sendable {
    public var x, y, score: Float
}

/// Pixels of any layout: where a row, a pixel and a channel begin, in bytes (BGRA: red = 2, blue = 0).
/// Not `Image`: that is SwiftUI's.
public struct Pixels {
    public var pixels: UnsafePointer<UInt8>
    public var width, height: Int
    public var rowBytes, pixelBytes: Int
    public var red, green, blue: Int

    public init(
        pixels: UnsafePointer<UInt8>, width: Int, height: Int,
        rowBytes: Int, pixelBytes: Int, red: Int, green: Int, blue: Int
    ) {
        self.pixels = pixels
        self.width = width
        self.height = height
        self.rowBytes = rowBytes
        self.pixelBytes = pixelBytes
        self.red = red
        self.green = green
        self.blue = blue
    }
}

/// Pixels.
public struct CropSize: Sendable {
    public var width, height: Int
}

/// How heatmaps are read: artifact.json's codec.rule.
public enum Rule: String, Decodable, Sendable {
    case quarterPixel = "argmax-quarter-pixel"
    case dark = "argmax-dark"
    case darkUdp = "argmax-dark-udp"
}

public struct PoseError: Error, CustomStringConvertible {
    public let description: String

    public init(_ description: String) {
        self.description = description
    }
}

public enum Numerics {
    /// Image pixels to crop pixels. The region has the crop's shape and covers the box with a margin.
    /// centers: artifact.json's crop.alignment is "centers", else "edges"
    public static func cropMatrix(
        box: Box, padding: Double, outWidth: Int, outHeight: Int, centers: Bool
    ) throws -> Affine {
        guard box.width > 0, box.height > 0, (box.x + box.y + box.width + box.height).isFinite else {
            throw PoseError("a box needs a width and a height above zero")
        }
        let aspect = Double(outWidth) / Double(outHeight)
        let regionWidth = padding * max(box.width, box.height * aspect)
        let regionHeight = regionWidth / aspect
        let inset = centers ? 1.0 : 0.0
        let scaleX = (Double(outWidth) - inset) / regionWidth
        let scaleY = (Double(outHeight) - inset) / regionHeight
        guard scaleX * scaleY > 0, (scaleX * scaleY).isFinite else {
            throw PoseError("the box is too large or too small for a picture")
        }
        let centerX = box.x + 0.5 * box.width
        let centerY = box.y + 0.5 * box.height
        return Affine(
            a: scaleX, b: 0.0, c: 0.5 * (Double(outWidth) - inset) - scaleX * centerX,
            d: 0.0, e: scaleY, f: 0.5 * (Double(outHeight) - inset) - scaleY * centerY
        )
    }

    /// Which of several crop sizes a person is looked at with: the one whose area is nearest above the
    /// box's (a larger one only magnifies), else the largest. As `edgepose predict` chooses.
    public static func chooseSize(box: Box, sizes: [CropSize]) throws -> Int {
        guard !sizes.isEmpty else { throw PoseError("there is no crop size to choose from") }
        let wanted = box.width * box.height
        var best = 0
        for i in 1..<max(sizes.count, 1) {
            let area = Double(sizes[i].width * sizes[i].height)
            let least = Double(sizes[best].width * sizes[best].height)
            let better = least >= wanted ? area >= wanted && area < least : area > least
            if better { best = i }
        }
        return best
    }

    public static func invert(_ m: Affine) -> Affine {
        let determinant = m.a * m.e - m.b * m.d
        let a = m.e / determinant
        let b = -m.b / determinant
        let d = -m.d / determinant
        let e = m.a / determinant
        return Affine(a: a, b: b, c: -(a * m.c + b * m.f), d: d, e: e, f: -(d * m.c + e * m.f))
    }

    private static func tap(_ image: Pixels, _ x: Int, _ y: Int, _ channel: Int) -> Float {
        if x < 0 || y < 0 || x >= image.width || y >= image.height { return 0.0 }
        return Float(image.pixels[y * image.rowBytes + x * image.pixelBytes + channel])
    }

    /// Bilinear crop, zero outside the image: RGB bytes, row by row.
    public static func crop(_ image: Pixels, matrix: Affine, outWidth: Int, outHeight: Int) -> [UInt8] {
        let back = invert(matrix)
        let channels = [image.red, image.green, image.blue]
        var out = [UInt8](repeating: 0, count: outWidth * outHeight * 3)
        for row in 0..<outHeight {
            for column in 0..<outWidth {
                let (i, j) = (Double(column), Double(row))
                let atX: Double = back.a * i + (back.b * j + back.c)
                let atY: Double = back.d * i + (back.e * j + back.f)
                let x = min(max(atX, -1.0), Double(image.width))
                let y = min(max(atY, -1.0), Double(image.height))
                let left = Int(x.rounded(.down))
                let top = Int(y.rounded(.down))
                let fx = Float(x - Double(left))
                let fy = Float(y - Double(top))
                for c in 0..<3 {
                    var upper = tap(image, left, top, channels[c])
                    upper += (tap(image, left + 1, top, channels[c]) - upper) * fx
                    var lower = tap(image, left, top + 1, channels[c])
                    lower += (tap(image, left + 1, top + 1, channels[c]) - lower) * fx
                    let value = (upper + (lower - upper) * fy).rounded(.toNearestOrEven)
                    out[(row * outWidth + column) * 3 + c] = UInt8(value)
                }
            }
        }
        return out
    }

    /// Logarithm of the map that begins at `start`, smoothed by a Gaussian, around (x, y): 5 x 5 values
    /// from (x - 2, y - 2) on.
    private static func logAround(
        _ maps: [Float], start: Int, width: Int, height: Int, x: Int, y: Int, sigma: Double, least: Double
    ) -> [Double] {
        let reach = max(1, Int(2.5 * sigma + 0.5))
        let pad = reach + 2
        let side = 2 * pad + 1
        var kernel = [Double](repeating: 0.0, count: 2 * reach + 1)
        var total = 0.0
        for i in -reach...reach {
            kernel[i + reach] = exp(-0.5 * (Double(i) / sigma) * (Double(i) / sigma))
            total += kernel[i + reach]
        }
        var rows = [Double](repeating: 0.0, count: 5 * side)  // smoothed along x: side rows of 5
        for j in 0..<side {
            let atY = y + j - pad
            if atY < 0 || atY >= height { continue }
            for i in 0..<5 {
                var sum = 0.0
                for k in -reach...reach {
                    let atX = x + i - 2 + k
                    if atX >= 0 && atX < width {
                        sum += kernel[k + reach] / total * Double(maps[start + atY * width + atX])
                    }
                }
                rows[j * 5 + i] = sum
            }
        }
        var out = [Double](repeating: 0.0, count: 25)
        for j in 0..<5 {
            for i in 0..<5 {
                var sum = 0.0
                for k in 0...(2 * reach) {
                    sum += kernel[k] / total * rows[(j + k) * 5 + i]
                }
                out[j * 5 + i] = log(max(sum, least))
            }
        }
        return out
    }

    /// The top of the parabola through five derivatives, seen from the peak: minus H^-1 g.
    private static func moved(
        _ x: Int, _ y: Int, _ score: Float, dx: Double, dy: Double, dxx: Double, dyy: Double, dxy: Double
    ) -> Joint {
        let curvature = dxx * dyy - dxy * dxy
        if curvature == 0.0 { return Joint(x: Float(x), y: Float(y), score: score) }
        return Joint(
            x: Float(Double(x) - (dyy * dx - dxy * dy) / curvature),
            y: Float(Double(y) - (dxx * dy - dxy * dx) / curvature), score: score
        )
    }

    /// A whole-pixel peak, moved a quarter pixel towards the higher neighbour on each axis.
    private static func refineQuarter(
        _ maps: [Float], start: Int, width: Int, height: Int, x: Int, y: Int, score: Float
    ) -> Joint {
        var joint = Joint(x: Float(x), y: Float(y), score: score)
        if x > 1 && x < width - 1 && y > 1 && y < height - 1 {
            let at = start + y * width + x
            let right = maps[at + 1] - maps[at - 1]
            let down = maps[at + width] - maps[at - width]
            joint.x += right > 0 ? 0.25 : right < 0 ? -0.25 : 0.0
            joint.y += down > 0 ? 0.25 : down < 0 ? -0.25 : 0.0
        }
        return joint
    }

    /// Zhang et al. 2020 (DARK). Peaks within two pixels of the border stay.
    private static func refineDark(
        _ maps: [Float], start: Int, width: Int, height: Int, x: Int, y: Int, score: Float, sigma: Double
    ) -> Joint {
        if !(x > 1 && x < width - 2 && y > 1 && y < height - 2) {
            return Joint(x: Float(x), y: Float(y), score: score)
        }
        let m = logAround(
            maps, start: start, width: width, height: height, x: x, y: y, sigma: sigma, least: 1e-10)
        let dx = 0.5 * (m[13] - m[11])
        let dy = 0.5 * (m[17] - m[7])
        let dxx = 0.25 * (m[14] - 2.0 * m[12] + m[10])
        let dyy = 0.25 * (m[22] - 2.0 * m[12] + m[2])
        let dxy = 0.25 * (m[18] - m[8] - m[16] + m[6])
        return moved(x, y, score, dx: dx, dy: dy, dxx: dxx, dyy: dyy, dxy: dxy)
    }

    /// Huang et al. 2020 (UDP). Beyond the border the map goes on as it ends.
    private static func refineUdp(
        _ maps: [Float], start: Int, width: Int, height: Int, x: Int, y: Int, score: Float, sigma: Double
    ) -> Joint {
        let log = logAround(
            maps, start: start, width: width, height: height, x: x, y: y, sigma: sigma, least: 1e-3)
        var m = [Double](repeating: 0.0, count: 9)
        for j in 0..<3 {
            for i in 0..<3 {
                let column = min(max(x + i - 1, 0), width - 1) - x + 2
                let row = min(max(y + j - 1, 0), height - 1) - y + 2
                m[j * 3 + i] = log[row * 5 + column]
            }
        }
        let tiny = Double(Float.ulpOfOne)
        let dx = 0.5 * (m[5] - m[3])
        let dy = 0.5 * (m[7] - m[1])
        let dxx = m[5] - 2.0 * m[4] + m[3] + tiny
        let dyy = m[7] - 2.0 * m[4] + m[1] + tiny
        let sides = m[5] + m[7] + m[3] + m[1]
        let dxy = 0.5 * (m[8] + m[0] + 2.0 * m[4] - sides)
        return moved(x, y, score, dx: dx, dy: dy, dxx: dxx, dyy: dyy, dxy: dxy)
    }

    /// (joints, height, width) heatmaps -> joints in heatmap pixels; the score is the maximum.
    /// sigma: of the Gaussian that the network was trained to draw, heatmap pixels (see sigmaPixels)
    public static func decode(
        _ heatmaps: [Float], joints: Int, height: Int, width: Int, rule: Rule, sigma: Double
    ) throws -> [Joint] {
        guard joints > 0, heatmaps.count == joints * height * width else {
            throw PoseError("the heatmaps are not of the size that artifact.json names")
        }
        var out: [Joint] = []
        for j in 0..<joints {
            let start = j * height * width
            var best = 0
            for i in 0..<(height * width) {
                guard heatmaps[start + i].isFinite else {
                    throw PoseError("a heatmap holds NaN or infinity")
                }
                if heatmaps[start + i] > heatmaps[start + best] { best = i }
            }
            let score = heatmaps[start + best]
            let x = score > 0 ? best % width : 0
            let y = score > 0 ? best / width : 0
            switch rule {
            case .quarterPixel:
                out.append(refineQuarter(
                    heatmaps, start: start, width: width, height: height, x: x, y: y, score: score))
            case .dark:
                out.append(refineDark(
                    heatmaps, start: start, width: width, height: height, x: x, y: y, score: score, sigma: sigma))
            case .darkUdp:
                out.append(refineUdp(
                    heatmaps, start: start, width: width, height: height, x: x, y: y, score: score, sigma: sigma))
            }
        }
        return out
    }

    /// What a whole-pose graph gives, x, y, score for each joint, as joints in crop pixels.
    public static func readJoints(_ values: [Float], joints: Int) throws -> [Joint] {
        guard joints > 0, values.count == joints * 3 else {
            throw PoseError("the joints are not as many as artifact.json names")
        }
        guard values.allSatisfy({ $0.isFinite }) else { throw PoseError("a joint holds NaN or infinity") }
        return (0..<joints).map { j in
            Joint(x: values[3 * j], y: values[3 * j + 1], score: values[3 * j + 2])
        }
    }

    /// artifact.json's codec.sigma is for 64 x 64 heatmaps; it grows with the longer side.
    public static func sigmaPixels(_ sigma: Double, height: Int, width: Int) -> Double {
        return max(1.0, sigma * Double(max(height, width)) / 64.0)
    }

    /// Crop pixels per heatmap pixel along a side of `count` heatmap pixels.
    public static func pitch(stride: Int, count: Int, centers: Bool) -> Double {
        return centers ? (Double(stride * count) - 1.0) / Double(max(count - 1, 1)) : Double(stride)
    }

    /// Heatmap pixels -> image pixels.
    public static func toImage(_ joints: [Joint], matrix: Affine, pitchX: Double, pitchY: Double) -> [Joint] {
        let back = invert(matrix)
        return joints.map { joint in
            let x = Double(joint.x) * pitchX
            let y = Double(joint.y) * pitchY
            return Joint(
                x: Float(back.a * x + back.b * y + back.c),
                y: Float(back.d * x + back.e * y + back.f), score: joint.score
            )
        }
    }
}
