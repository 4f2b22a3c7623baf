// swift-tools-version:5.7
import PackageDescription

let package = Package(
    name: "EdgePose",
    platforms: [.iOS(.v15), .macOS(.v12)],
    products: [.library(name: "EdgePose", targets: ["EdgePose"])],
    targets: [
        .target(name: "EdgePose"),
        .testTarget(name: "EdgePoseTests", dependencies: ["EdgePose"]),
    ]
)
