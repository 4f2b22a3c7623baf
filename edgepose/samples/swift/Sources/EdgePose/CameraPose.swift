// Camera frames to skeletons: Vision finds the person, the model the joints.
// SPDX-License-Identifier: Apache-2.0
#if canImport(AVFoundation) && canImport(Vision)
import AVFoundation
import CoreVideo
import Vision

/// let output = AVCaptureVideoDataOutput()
/// session.addOutput(output)
/// camera.attach(to: output, queue: DispatchQueue(label: "pose"))
///
/// Keep the CameraPose: the output does not.
public final class CameraPose: NSObject, AVCaptureVideoDataOutputSampleBufferDelegate {
    private let estimator: PoseEstimator
    private let onPeople: @Sendable (Result<[[Joint]], Error>) -> Void

    /// onPeople: the joints of each person, in pixels of the upright frame; called on the output's queue
    public init(
        estimator: PoseEstimator, onPeople: @escaping @Sendable (Result<[[Joint]], Error>) -> Void
    ) {
        self.estimator = estimator
        self.onPeople = onPeople
    }

    /// Upright BGRA frames of an output that is in its session already, for an iPhone in portrait. The
    /// sensor lies on its side: an app that turns sets the connection's rotation anew.
    public func attach(to output: AVCaptureVideoDataOutput, queue: DispatchQueue) {
        output.videoSettings = [
            kCVPixelBufferPixelFormatTypeKey as String: kCVPixelFormatType_32BGRA
        ]
        output.setSampleBufferDelegate(self, queue: queue)
        #if os(iOS)
        guard let connection = output.connection(with: .video) else { return }
        if #available(iOS 17.0, *) {
            if connection.isVideoRotationAngleSupported(90) { connection.videoRotationAngle = 90 }
        } else if connection.isVideoOrientationSupported {
            connection.videoOrientation = .portrait
        }
        #endif
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
