// One person at a time: frame and box in, joints in frame pixels out. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "contract.hpp"
#include "pose_numerics.hpp"

namespace edgepose {

// Runs a network for one image. input: (3, height, width) floats -> (joints, heatmapHeight, heatmapWidth);
// of a whole-pose graph (height, width, 3) bytes -> (joints, 3)
class Engine {
public:
    virtual ~Engine() = default;
    virtual std::vector<float> infer(const void* input) = 0;
};

// In ort_engine.cpp or tensorrt_engine.cpp, as CMake chose. network: one of the contract's
std::unique_ptr<Engine> openEngine(const Contract& contract, const Network& network);

class PoseEstimator {
public:
    explicit PoseEstimator(const Contract& artifact) : contract(artifact), sizes_(artifact.sizes()) {
        for (const Network& network : contract.networks) engines_.push_back(openEngine(contract, network));
    }

    // Where the artifact has several crop sizes, the person gets the one that fits the box.
    std::vector<Joint> joints(const Image& frame, Box box) {
        const Contract& c = contract;
        const std::size_t size = chooseSize(box, sizes_);
        const Network& n = c.networks[size];
        Engine& engine = *engines_[size];
        const Affine matrix = cropMatrix(box, c.padding, n.width, n.height, c.centers);
        if (n.wholePose) {
            const Image ordered = c.bgr ? swapped(frame) : frame;
            const std::vector<std::uint8_t> pixels = crop(ordered, matrix, n.width, n.height);
            return toImage(readJoints(engine.infer(pixels.data()), int(c.joints.size())), matrix, 1.0, 1.0);
        }
        const std::vector<float> input =
            normalise(crop(frame, matrix, n.width, n.height), c.mean, c.std, c.bgr);
        const std::vector<Joint> found =
            decode(engine.infer(input.data()), int(c.joints.size()), n.heatmapHeight, n.heatmapWidth, c.rule,
                   sigmaPixels(c.sigma, n.heatmapHeight, n.heatmapWidth));
        return toImage(found, matrix, pitch(c.stride, n.heatmapWidth, c.centers),
                       pitch(c.stride, n.heatmapHeight, c.centers));
    }

    const Contract contract;

private:
    static Image swapped(Image frame) {
        std::swap(frame.red, frame.blue);
        return frame;
    }

    std::vector<CropSize> sizes_;
    std::vector<std::unique_ptr<Engine>> engines_;
};

}  // namespace edgepose
