// What artifact.json says about the model beside it. SPDX-License-Identifier: Apache-2.0
import Foundation

public struct Contract: Decodable {
    public struct Port: Decodable {
        public let name: String
        public let layout: String
        let shape: [Int]

        func side(_ axis: Character) throws -> Int {
            guard layout.count == shape.count, let at = layout.firstIndex(of: axis) else {
                throw PoseError("artifact.json names no axis \(axis) of \(name)")
            }
            return shape[layout.distance(from: layout.startIndex, to: at)]
        }

        func size() throws -> CropSize {
            return CropSize(width: try side("W"), height: try side("H"))
        }
    }

    public struct Skeleton: Decodable {
        public let name: String
        public let joints: [String]
        /// Pairs of joints that a line connects.
        public let limbs: [[Int]]
    }

    struct Preprocessing: Decodable {
        let `where`: String
    }

    struct Crop: Decodable {
        let padding: Double
        let alignment: String
    }

    struct Codec: Decodable {
        let stride: Int
        let sigma: Double
        let rule: Rule
    }

    struct Variant: Decodable {
        let batch: Int
        let gives: String
        let role: String
        let input: Port
        let output: Port
        let `where`: String
    }

    struct File: Decodable {
        let path: String
        let role: String
    }

    let schemaVersion: Int
    public let name: String
    public let input: Port
    public let output: Port
    public let skeleton: Skeleton
    let preprocessing: Preprocessing
    let crop: Crop
    let codec: Codec
    let files: [File]
    let variants: [Variant]?

    /// folder: holds artifact.json and the files that it names
    public static func read(_ folder: URL) throws -> Contract {
        let data = try Data(contentsOf: folder.appendingPathComponent("artifact.json"))
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let contract = try decoder.decode(Contract.self, from: data)
        guard contract.schemaVersion == 1 else {
            throw PoseError("artifact.json is of another version")
        }
        return contract
    }

    /// One for each crop size: whole-pose graphs where artifact.json lists them, else heatmaps.
    /// precision: nil for the counted packages, or e.g. "fp16" for the one beside them, which gives heatmaps
    func networks(precision: String?) throws -> [Network] {
        let main = Variant(
            batch: 1, gives: output.layout == Contract.joints ? "joints" : "heatmaps", role: "model",
            input: input, output: output, where: preprocessing.where)
        let single = (variants ?? []).filter { $0.batch == 1 }
        let all = single.isEmpty ? [main] : single
        let whole = precision == nil ? all.filter { $0.gives == "joints" } : []
        let chosen = whole.isEmpty ? all.filter { $0.gives == "heatmaps" } : whole
        guard !chosen.isEmpty else { throw PoseError("artifact.json names no heatmaps") }
        return try chosen.map { variant -> Network in
            guard variant.where == "graph", ["NCHW", Contract.joints].contains(variant.output.layout) else {
                throw PoseError("this sample takes models from an image to heatmaps or joints")
            }
            let role = precision.map { "\($0)_\(variant.role)" } ?? variant.role
            var heatmap: CropSize?
            if variant.gives == "heatmaps" { heatmap = try variant.output.size() }
            return Network(
                package: try package(role), input: variant.input.name, output: variant.output.name,
                size: try variant.input.size(), heatmap: heatmap)
        }
    }

    private static let joints = "NJ3"

    /// The .mlpackage whose model has that role.
    private func package(_ role: String) throws -> String {
        guard let file = files.first(where: { $0.role == role }),
            let package = file.path.split(separator: "/").first, package.hasSuffix(".mlpackage")
        else {
            throw PoseError("artifact.json names no mlpackage for \(role)")
        }
        return String(package)
    }
}

/// The network for one crop size. heatmap: the size of one joint's; nil: joints come out. Several sizes may
/// be of one package.
struct Network {
    let package, input, output: String
    let size: CropSize
    let heatmap: CropSize?
}
