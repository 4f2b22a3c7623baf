// pose ARTIFACT PICTURE.ppm X,Y,WIDTH,HEIGHT: one line per joint. SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>

#include "pose_estimator.hpp"

namespace {

struct Picture {
    int width = 0, height = 0;
    std::vector<std::uint8_t> rgb;
};

// A binary PPM (P6, 8 bits), as `convert photo.jpg photo.ppm` writes it.
Picture readPpm(const std::string& path) {
    std::ifstream stream(path, std::ios::binary);
    std::string magic;
    int most = 0;
    Picture picture;
    stream >> magic >> picture.width >> picture.height >> most;
    stream.get();
    if (!stream || magic != "P6" || most != 255 || picture.width <= 0 || picture.height <= 0 ||
        picture.width > 32768 || picture.height > 32768) {
        throw std::runtime_error(path + " is not a binary PPM picture of 8 bits");
    }
    picture.rgb.assign(std::istreambuf_iterator<char>(stream), {});
    if (picture.rgb.size() < std::size_t(picture.width) * picture.height * 3) {
        throw std::runtime_error(path + " is cut off");
    }
    return picture;
}

}  // namespace

int main(int count, char** words) {
    edgepose::Box box{};
    if (count != 4 ||
        std::sscanf(words[3], "%lf,%lf,%lf,%lf", &box.x, &box.y, &box.width, &box.height) != 4) {
        std::cerr << "usage: pose ARTIFACT PICTURE.ppm X,Y,WIDTH,HEIGHT\n";
        return 2;
    }
    try {
        edgepose::PoseEstimator estimator(edgepose::readContract(words[1]));
        const Picture picture = readPpm(words[2]);
        const edgepose::Image frame{picture.rgb.data(), picture.width, picture.height,
                                    picture.width * 3, 3, 0, 1, 2};
        const std::vector<edgepose::Joint> joints = estimator.joints(frame, box);
        for (std::size_t i = 0; i < joints.size(); ++i) {
            std::printf("%s %.4f %.4f %.4f\n", estimator.contract.joints[i].c_str(), joints[i].x,
                        joints[i].y, joints[i].score);
        }
    } catch (const std::exception& error) {
        std::cerr << "error: " << error.what() << "\n";
        return 2;
    }
}
