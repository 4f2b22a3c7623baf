// From a person's box to joints: crop, normalise, decode. C++17, nothing else.
// Coordinates are pixels, 0-based, pixel centres at integers; Kotlin's and Swift's Numerics are the same
// functions line by line. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

namespace edgepose {

// A person's box, image pixels.
struct Box {
    double x, y, width, height;
};

// x' = a x + b y + c, y' = d x + e y + f
struct Affine {
    double a, b, c, d, e, f;
};

struct Joint {
    float x, y, score;
};

// Pixels of any layout: where a row, a pixel and a channel begin, in bytes (BGR: red = 2, blue = 0).
struct Image {
    const std::uint8_t* pixels;
    int width, height;
    int rowBytes, pixelBytes;
    int red, green, blue;
};

// Pixels.
struct CropSize {
    int width, height;
};

// How heatmaps are read: artifact.json's codec.rule.
enum class Rule { quarterPixel, dark, darkUdp };

// Image pixels to crop pixels. The region has the crop's shape and covers the box with a margin.
// centers: artifact.json's crop.alignment is "centers", else "edges"
inline Affine cropMatrix(Box box, double padding, int outWidth, int outHeight, bool centers) {
    if (!(box.width > 0 && box.height > 0) || !std::isfinite(box.x + box.y + box.width + box.height)) {
        throw std::invalid_argument("a box needs a width and a height above zero");
    }
    const double aspect = double(outWidth) / double(outHeight);
    const double regionWidth = padding * std::max(box.width, box.height * aspect);
    const double regionHeight = regionWidth / aspect;
    const double inset = centers ? 1.0 : 0.0;
    const double scaleX = (outWidth - inset) / regionWidth;
    const double scaleY = (outHeight - inset) / regionHeight;
    if (!(scaleX * scaleY > 0) || !std::isfinite(scaleX * scaleY)) {
        throw std::invalid_argument("the box is too large or too small for a picture");
    }
    const double centerX = box.x + 0.5 * box.width;
    const double centerY = box.y + 0.5 * box.height;
    return Affine{scaleX, 0.0, 0.5 * (outWidth - inset) - scaleX * centerX,
                  0.0, scaleY, 0.5 * (outHeight - inset) - scaleY * centerY};
}

// Which of several crop sizes a person is looked at with: the one whose area is nearest above the box's (a
// larger one only magnifies), else the largest. As `edgepose predict` chooses.
inline std::size_t chooseSize(Box box, const std::vector<CropSize>& sizes) {
    if (sizes.empty()) throw std::invalid_argument("there is no crop size to choose from");
    const double wanted = box.width * box.height;
    std::size_t best = 0;
    for (std::size_t i = 1; i < sizes.size(); ++i) {
        const double area = double(sizes[i].width) * sizes[i].height;
        const double least = double(sizes[best].width) * sizes[best].height;
        const bool better = least >= wanted ? area >= wanted && area < least : area > least;
        if (better) best = i;
    }
    return best;
}

inline Affine invert(Affine m) {
    const double determinant = m.a * m.e - m.b * m.d;
    const double a = m.e / determinant;
    const double b = -m.b / determinant;
    const double d = -m.d / determinant;
    const double e = m.a / determinant;
    return Affine{a, b, -(a * m.c + b * m.f), d, e, -(d * m.c + e * m.f)};
}

// Bilinear crop, zero outside the image: RGB bytes, row by row.
inline std::vector<std::uint8_t> crop(const Image& image, Affine matrix, int outWidth, int outHeight) {
    const Affine back = invert(matrix);
    const int channels[3] = {image.red, image.green, image.blue};
    std::vector<std::uint8_t> out(std::size_t(outWidth) * outHeight * 3);
    const auto tap = [&](int x, int y, int channel) -> float {
        if (x < 0 || y < 0 || x >= image.width || y >= image.height) return 0.0f;
        return image.pixels[std::size_t(y) * image.rowBytes + std::size_t(x) * image.pixelBytes + channel];
    };
    for (int row = 0; row < outHeight; ++row) {
        for (int column = 0; column < outWidth; ++column) {
            const double x = std::clamp(back.a * column + (back.b * row + back.c), -1.0, double(image.width));
            const double y = std::clamp(back.d * column + (back.e * row + back.f), -1.0, double(image.height));
            const int left = int(std::floor(x));
            const int top = int(std::floor(y));
            const float fx = float(x - left);
            const float fy = float(y - top);
            for (int c = 0; c < 3; ++c) {
                float upper = tap(left, top, channels[c]);
                upper += (tap(left + 1, top, channels[c]) - upper) * fx;
                float lower = tap(left, top + 1, channels[c]);
                lower += (tap(left + 1, top + 1, channels[c]) - lower) * fx;
                const float value = std::nearbyint(upper + (lower - upper) * fy);
                out[(std::size_t(row) * outWidth + column) * 3 + c] = std::uint8_t(value);
            }
        }
    }
    return out;
}

// RGB bytes -> (3, height, width) floats: (value / 255 - mean) / std, in the network's channel order.
inline std::vector<float> normalise(const std::vector<std::uint8_t>& rgb, const std::array<double, 3>& mean,
                                    const std::array<double, 3>& std, bool bgr) {
    const std::size_t count = rgb.size() / 3;
    std::vector<float> out(rgb.size());
    for (int c = 0; c < 3; ++c) {
        const float scale = float(1.0 / (255.0 * std[c]));
        const float offset = float(mean[c] / std[c]);
        const int source = bgr ? 2 - c : c;
        for (std::size_t i = 0; i < count; ++i) {
            out[c * count + i] = float(rgb[i * 3 + source]) * scale - offset;
        }
    }
    return out;
}

// Logarithm of a map, smoothed by a Gaussian, around (x, y): 5 x 5 values from (x - 2, y - 2) on.
inline std::array<double, 25> logAround(const float* map, int width, int height, int x, int y,
                                        double sigma, double least) {
    const int reach = std::max(1, int(2.5 * sigma + 0.5));
    const int pad = reach + 2;
    const int side = 2 * pad + 1;
    std::vector<double> kernel(2 * reach + 1);
    double total = 0.0;
    for (int i = -reach; i <= reach; ++i) {
        kernel[i + reach] = std::exp(-0.5 * (i / sigma) * (i / sigma));
        total += kernel[i + reach];
    }
    std::vector<double> rows(5 * side, 0.0);  // smoothed along x: side rows of 5
    for (int j = 0; j < side; ++j) {
        const int atY = y + j - pad;
        if (atY < 0 || atY >= height) continue;
        for (int i = 0; i < 5; ++i) {
            double sum = 0.0;
            for (int k = -reach; k <= reach; ++k) {
                const int atX = x + i - 2 + k;
                if (atX >= 0 && atX < width) sum += kernel[k + reach] / total * map[atY * width + atX];
            }
            rows[j * 5 + i] = sum;
        }
    }
    std::array<double, 25> out{};
    for (int j = 0; j < 5; ++j) {
        for (int i = 0; i < 5; ++i) {
            double sum = 0.0;
            for (int k = 0; k <= 2 * reach; ++k) {
                sum += kernel[k] / total * rows[(j + k) * 5 + i];
            }
            out[j * 5 + i] = std::log(std::max(sum, least));
        }
    }
    return out;
}

// The top of the parabola through five derivatives, seen from the peak: minus H^-1 g.
inline Joint moved(int x, int y, float score, double dx, double dy, double dxx, double dyy, double dxy) {
    const double curvature = dxx * dyy - dxy * dxy;
    if (curvature == 0.0) return Joint{float(x), float(y), score};
    return Joint{float(x - (dyy * dx - dxy * dy) / curvature),
                 float(y - (dxx * dy - dxy * dx) / curvature), score};
}

// A whole-pixel peak, moved a quarter pixel towards the higher neighbour on each axis.
inline Joint refineQuarter(const float* map, int width, int height, int x, int y, float score) {
    Joint joint{float(x), float(y), score};
    if (x > 1 && x < width - 1 && y > 1 && y < height - 1) {
        const int at = y * width + x;
        const float right = map[at + 1] - map[at - 1];
        const float down = map[at + width] - map[at - width];
        joint.x += right > 0 ? 0.25f : right < 0 ? -0.25f : 0.0f;
        joint.y += down > 0 ? 0.25f : down < 0 ? -0.25f : 0.0f;
    }
    return joint;
}

// Zhang et al. 2020 (DARK). Peaks within two pixels of the border stay.
inline Joint refineDark(const float* map, int width, int height, int x, int y, float score, double sigma) {
    if (!(x > 1 && x < width - 2 && y > 1 && y < height - 2)) {
        return Joint{float(x), float(y), score};
    }
    const std::array<double, 25> m = logAround(map, width, height, x, y, sigma, 1e-10);
    const double dx = 0.5 * (m[13] - m[11]);
    const double dy = 0.5 * (m[17] - m[7]);
    const double dxx = 0.25 * (m[14] - 2.0 * m[12] + m[10]);
    const double dyy = 0.25 * (m[22] - 2.0 * m[12] + m[2]);
    const double dxy = 0.25 * (m[18] - m[8] - m[16] + m[6]);
    return moved(x, y, score, dx, dy, dxx, dyy, dxy);
}

// Huang et al. 2020 (UDP). Beyond the border the map goes on as it ends.
inline Joint refineUdp(const float* map, int width, int height, int x, int y, float score, double sigma) {
    const std::array<double, 25> log = logAround(map, width, height, x, y, sigma, 1e-3);
    std::array<double, 9> m{};
    for (int j = 0; j < 3; ++j) {
        for (int i = 0; i < 3; ++i) {
            const int column = std::clamp(x + i - 1, 0, width - 1) - x + 2;
            const int row = std::clamp(y + j - 1, 0, height - 1) - y + 2;
            m[j * 3 + i] = log[row * 5 + column];
        }
    }
    const double tiny = std::numeric_limits<float>::epsilon();
    const double dx = 0.5 * (m[5] - m[3]);
    const double dy = 0.5 * (m[7] - m[1]);
    const double dxx = m[5] - 2.0 * m[4] + m[3] + tiny;
    const double dyy = m[7] - 2.0 * m[4] + m[1] + tiny;
    const double dxy = 0.5 * (m[8] + m[0] + 2.0 * m[4] - m[5] - m[7] - m[3] - m[1]);
    return moved(x, y, score, dx, dy, dxx, dyy, dxy);
}

// (joints, height, width) heatmaps -> joints in heatmap pixels; the score is the maximum.
// sigma: of the Gaussian that the network was trained to draw, heatmap pixels (see sigmaPixels)
inline std::vector<Joint> decode(const std::vector<float>& heatmaps, int joints, int height, int width,
                                 Rule rule, double sigma) {
    if (joints <= 0 || heatmaps.size() != std::size_t(joints) * height * width) {
        throw std::invalid_argument("the heatmaps are not of the size that artifact.json names");
    }
    std::vector<Joint> out;
    for (int j = 0; j < joints; ++j) {
        const float* map = heatmaps.data() + std::size_t(j) * height * width;
        int best = 0;
        for (int i = 0; i < height * width; ++i) {
            if (!std::isfinite(map[i])) throw std::runtime_error("a heatmap holds NaN or infinity");
            if (map[i] > map[best]) best = i;
        }
        const float score = map[best];
        const int x = score > 0 ? best % width : 0;
        const int y = score > 0 ? best / width : 0;
        switch (rule) {
            case Rule::quarterPixel:
                out.push_back(refineQuarter(map, width, height, x, y, score));
                break;
            case Rule::dark:
                out.push_back(refineDark(map, width, height, x, y, score, sigma));
                break;
            case Rule::darkUdp:
                out.push_back(refineUdp(map, width, height, x, y, score, sigma));
                break;
        }
    }
    return out;
}

// What a whole-pose graph gives, x, y, score for each joint, as joints in crop pixels.
inline std::vector<Joint> readJoints(const std::vector<float>& values, int joints) {
    if (joints <= 0 || values.size() != std::size_t(joints) * 3) {
        throw std::invalid_argument("the joints are not as many as artifact.json names");
    }
    std::vector<Joint> out;
    for (int j = 0; j < joints; ++j) {
        const float *at = values.data() + 3 * j, sum = at[0] + at[1] + at[2];
        if (!std::isfinite(sum)) throw std::runtime_error("a joint holds NaN or infinity");
        out.push_back(Joint{at[0], at[1], at[2]});
    }
    return out;
}

// artifact.json's codec.sigma is for 64 x 64 heatmaps; it grows with the longer side.
inline double sigmaPixels(double sigma, int height, int width) {
    return std::max(1.0, sigma * std::max(height, width) / 64.0);
}

// Crop pixels per heatmap pixel along a side of `count` heatmap pixels.
inline double pitch(int stride, int count, bool centers) {
    return centers ? (double(stride) * count - 1.0) / std::max(count - 1, 1) : double(stride);
}

// Heatmap pixels -> image pixels.
inline std::vector<Joint> toImage(const std::vector<Joint>& joints, Affine matrix, double pitchX, double pitchY) {
    const Affine back = invert(matrix);
    std::vector<Joint> out;
    for (const Joint& joint : joints) {
        const double x = joint.x * pitchX;
        const double y = joint.y * pitchY;
        out.push_back(Joint{float(back.a * x + back.b * y + back.c), float(back.d * x + back.e * y + back.f),
                            joint.score});
    }
    return out;
}

}  // namespace edgepose
