// The numbers that edgepose's own Python gives, see Vectors.swift. SPDX-License-Identifier: Apache-2.0
import XCTest

@testable import EdgePose

final class NumericsTests: XCTestCase {
    private func matrix(_ centers: Bool) throws -> Affine {
        return try Numerics.cropMatrix(
            box: Vectors.box, padding: 1.25,
            outWidth: Vectors.cropWidth, outHeight: Vectors.cropHeight, centers: centers)
    }

    private func checkCrop(_ centers: Bool, _ expectedMatrix: [Double], _ expected: [Int]) throws {
        let m = try matrix(centers)
        for (found, wanted) in zip([m.a, m.b, m.c, m.d, m.e, m.f], expectedMatrix) {
            XCTAssertEqual(found, wanted, accuracy: 1e-9)
        }
        var pixels: [UInt8] = []
        for y in 0..<Vectors.imageHeight {
            for x in 0..<Vectors.imageWidth {
                for c in 0..<3 { pixels.append(UInt8((x * 31 + y * 17 + c * 53) % 256)) }
            }
        }
        let crop = pixels.withUnsafeBufferPointer { buffer -> [UInt8] in
            let image = Pixels(
                pixels: buffer.baseAddress!, width: Vectors.imageWidth, height: Vectors.imageHeight,
                rowBytes: 3 * Vectors.imageWidth, pixelBytes: 3, red: 0, green: 1, blue: 2)
            return Numerics.crop(
                image, matrix: m, outWidth: Vectors.cropWidth, outHeight: Vectors.cropHeight)
        }
        XCTAssertEqual(crop.count, expected.count)
        for (found, wanted) in zip(crop, expected) {
            XCTAssertLessThanOrEqual(abs(Int(found) - wanted), 1)
        }
    }

    private func checkJoints(_ rule: Rule, _ centers: Bool, _ expected: [Float]) throws {
        let heatmaps = Vectors.heatmaps.map { Float($0) / 256.0 }
        let found = try Numerics.decode(
            heatmaps, joints: Vectors.joints, height: Vectors.heatmapHeight, width: Vectors.heatmapWidth,
            rule: rule, sigma: 1.0)
        let joints = Numerics.toImage(
            found, matrix: try matrix(centers),
            pitchX: Numerics.pitch(stride: 4, count: Vectors.heatmapWidth, centers: centers),
            pitchY: Numerics.pitch(stride: 4, count: Vectors.heatmapHeight, centers: centers))
        XCTAssertEqual(3 * joints.count, expected.count)
        for (i, joint) in joints.enumerated() {
            XCTAssertEqual(joint.x, expected[3 * i], accuracy: 1e-3)
            XCTAssertEqual(joint.y, expected[3 * i + 1], accuracy: 1e-3)
            XCTAssertEqual(joint.score, expected[3 * i + 2], accuracy: 1e-6)
        }
    }

    func testCropsByEdges() throws {
        try checkCrop(false, Vectors.matrixEdges, Vectors.cropEdges)
    }

    func testCropsByCenters() throws {
        try checkCrop(true, Vectors.matrixCenters, Vectors.cropCenters)
    }

    func testDecodesByQuarterPixel() throws {
        try checkJoints(.quarterPixel, false, Vectors.quarterPixel)
    }

    func testDecodesByDark() throws {
        try checkJoints(.dark, false, Vectors.dark)
    }

    func testDecodesByDarkUdp() throws {
        try checkJoints(.darkUdp, true, Vectors.darkUdp)
    }

    func testChoosesTheSizeThatFitsTheBox() throws {
        let sizes = stride(from: 0, to: Vectors.sizes.count, by: 2).map {
            CropSize(width: Vectors.sizes[$0], height: Vectors.sizes[$0 + 1])
        }
        for (i, expected) in Vectors.chosen.enumerated() {
            let box = Box(x: 3, y: 5, width: Vectors.boxes[2 * i], height: Vectors.boxes[2 * i + 1])
            XCTAssertEqual(try Numerics.chooseSize(box: box, sizes: sizes), expected)
        }
    }

    func testReadsTheJointsOfAWholePoseGraph() throws {
        let found = try Numerics.readJoints(Vectors.fromGraph, joints: Vectors.fromGraph.count / 3)
        let joints = Numerics.toImage(found, matrix: try matrix(false), pitchX: 1.0, pitchY: 1.0)
        for (i, joint) in joints.enumerated() {
            XCTAssertEqual(joint.x, Vectors.placed[3 * i], accuracy: 1e-3)
            XCTAssertEqual(joint.y, Vectors.placed[3 * i + 1], accuracy: 1e-3)
            XCTAssertEqual(joint.score, Vectors.placed[3 * i + 2], accuracy: 1e-6)
        }
    }

    func testRefusesNaN() {
        let maps = [Float](repeating: Float.nan, count: 16)
        XCTAssertThrowsError(
            try Numerics.decode(maps, joints: 1, height: 4, width: 4, rule: .quarterPixel, sigma: 1.0))
    }

    func testRefusesABoxWithoutArea() {
        let box = Box(x: 1, y: 1, width: 0, height: 5)
        XCTAssertThrowsError(
            try Numerics.cropMatrix(box: box, padding: 1.25, outWidth: 4, outHeight: 4, centers: false))
    }
}
