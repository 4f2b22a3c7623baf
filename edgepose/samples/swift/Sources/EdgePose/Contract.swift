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

    /// folder: holds artifact.json and the files that it names
    public static func read(_ folder: URL) throws -> Contract {
        let data = try Data(contentsOf: folder.appendingPathComponent("artifact.json"))
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let contract = try decoder.decode(Contract.self, from: data)
        guard contract.schemaVersion == 1 else {
            throw PoseError("artifact.json is of another version")
        }
        guard contract.preprocessing.where == "graph", contract.output.layout == "NCHW" else {
            throw PoseError("this sample takes models from an image to heatmaps")
        }
        return contract
    }

    /// The .mlpackage: model.mlpackage, or with `precision`, e.g. "fp16", the one made beside it.
    public func package(precision: String? = nil) throws -> String {
        let role = precision.map { "\($0)_model" } ?? "model"
        guard let file = files.first(where: { $0.role == role }),
            let package = file.path.split(separator: "/").first, package.hasSuffix(".mlpackage")
        else {
            throw PoseError("artifact.json names no mlpackage for \(role)")
        }
        return String(package)
    }
}
