// Camera frames to skeletons: Vision finds the person, the model the joints.
// SPDX-License-Identifier: Apache-2.0
#if canImport(AVFoundation) && canImport(Vision)
import AVFoundation
import CoreVideo
import Vision

/// let output = AVCaptureVideoDataOutput()
/// output.videoSettings = CameraPose.videoSettings
/// output.setSampleBufferDelegate(camera, queue: DispatchQueue(label: "pose"))
public final class CameraPose: NSObject, AVCaptureVideoDataOutputSampleBufferDelegate {
    public static let videoSettings: [String: Any] = [
        kCVPixelBufferPixelFormatTypeKey as String: kCVPixelFormatType_32BGRA
    ]
    private let estimator: PoseEstimator
    private let onPeople: (Result<[[Joint]], Error>) -> Void

    /// onPeople: the joints of each person, in pixels of the frame; called on the output's queue
    public init(estimator: PoseEstimator, onPeople: @escaping (Result<[[Joint]], Error>) -> Void) {
        self.estimator = estimator
        self.onPeople = onPeople
    }

    public func captureOutput(
        _ output: AVCaptureOutput, didOutput sample: CMSampleBuffer, from connection: AVCaptureConnection
    ) {
        guard let frame = CMSampleBufferGetImageBuffer(sample) else { return }
        onPeople(Result { try people(in: frame).map { try estimator.joints(in: frame, box: $0) } })
    }

    private func people(in frame: CVPixelBuffer) throws -> [Box] {
        let request = VNDetectHumanRectanglesRequest()
        request.upperBodyOnly = false
        try VNImageRequestHandler(cvPixelBuffer: frame, options: [:]).perform([request])
        let width = Double(CVPixelBufferGetWidth(frame))
        let height = Double(CVPixelBufferGetHeight(frame))
        return (request.results ?? []).map { found in
            let box = found.boundingBox  // 0..1, from the lower left corner
            return Box(
                x: Double(box.minX) * width, y: (1.0 - Double(box.maxY)) * height,
                width: Double(box.width) * width, height: Double(box.height) * height)
        }
    }
}
#endif
