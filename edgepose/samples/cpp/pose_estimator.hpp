// One person at a time: frame and box in, joints in frame pixels out. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "contract.hpp"
#include "pose_numerics.hpp"

namespace edgepose {

// Runs the network: (1, 3, height, width) -> (1, joints, heatmapHeight, heatmapWidth).
class Engine {
public:
    virtual ~Engine() = default;
    virtual std::vector<float> infer(std::vector<float>& input) = 0;
};

// In ort_engine.cpp or tensorrt_engine.cpp, as CMake chose.
std::unique_ptr<Engine> openEngine(const Contract& contract);

class PoseEstimator {
public:
    explicit PoseEstimator(const Contract& artifact) : contract(artifact), engine_(openEngine(artifact)) {}

    std::vector<Joint> joints(const Image& frame, Box box) {
        const Contract& c = contract;
        const Affine matrix = cropMatrix(box, c.padding, c.width, c.height, c.centers);
        std::vector<float> input = normalise(crop(frame, matrix, c.width, c.height), c.mean, c.std, c.bgr);
        const std::vector<float> heatmaps = engine_->infer(input);
        const double sigma = sigmaPixels(c.sigma, c.heatmapHeight, c.heatmapWidth);
        const std::vector<Joint> found =
            decode(heatmaps, int(c.joints.size()), c.heatmapHeight, c.heatmapWidth, c.rule, sigma);
        return toImage(found, matrix, pitch(c.stride, c.heatmapWidth, c.centers),
                       pitch(c.stride, c.heatmapHeight, c.centers));
    }

    const Contract contract;

private:
    std::unique_ptr<Engine> engine_;
};

}  // namespace edgepose
