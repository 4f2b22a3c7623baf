// camera ARTIFACT: skeletons on the first camera's picture, until a key is pressed. Needs OpenCV.
// The person is looked for in the whole picture, then around the last joints; an app with a detector
// gives its boxes instead. SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <iostream>
#include <opencv2/core.hpp>
#include <opencv2/highgui.hpp>
#include <opencv2/imgproc.hpp>
#include <opencv2/videoio.hpp>
#include <stdexcept>

#include "pose_estimator.hpp"

int main(int count, char** words) {
    if (count != 2) {
        std::cerr << "usage: camera ARTIFACT\n";
        return 2;
    }
    try {
        edgepose::PoseEstimator estimator(edgepose::readContract(words[1]));
        cv::VideoCapture camera(0);
        if (!camera.isOpened()) throw std::runtime_error("the first camera cannot be opened");
        cv::Mat frame;
        edgepose::Box box{};
        while (camera.read(frame) && cv::waitKey(1) < 0) {
            if (box.width < 1 || box.height < 1) box = {0, 0, double(frame.cols), double(frame.rows)};
            const edgepose::Image image{frame.data, frame.cols, frame.rows, int(frame.step), 3, 2, 1, 0};
            const std::vector<edgepose::Joint> joints = estimator.joints(image, box);
            const auto at = [&](int i) { return cv::Point2f(joints[i].x, joints[i].y); };
            for (const auto& [from, to] : estimator.contract.limbs) {
                if (std::min(joints[from].score, joints[to].score) < 0.3f) continue;
                cv::line(frame, at(from), at(to), cv::Scalar(0, 220, 0), 2, cv::LINE_AA);
            }
            std::vector<cv::Point2f> sure;
            for (std::size_t i = 0; i < joints.size(); ++i) {
                if (joints[i].score >= 0.3f) sure.push_back(at(int(i)));
            }
            const cv::Rect2f around = sure.size() < 4 ? cv::Rect2f() : cv::Rect2f(cv::boundingRect(sure));
            box = {around.x, around.y, around.width, around.height};
            cv::imshow("edgepose", frame);
        }
    } catch (const std::exception& error) {
        std::cerr << "error: " << error.what() << "\n";
        return 2;
    }
}
