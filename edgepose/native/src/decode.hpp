// From heatmaps to joints: edgepose/device/decode.py in C++, same rules, same precision.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include "refused.hpp"

namespace edgepose {

struct Joint {
  float x, y, score;  // heatmap pixels; the maximum
};

// One heatmap of h x w float, row by row.
struct Heatmap {
  const float* data;
  int h, w;
  float at(int x, int y) const { return data[static_cast<std::size_t>(y) * w + x]; }
};

// The maximum's pixel: the lowest index on ties, (0, 0) where the maximum is not positive.
inline Joint find_peak(const Heatmap& map) {
  const std::size_t count = static_cast<std::size_t>(map.h) * map.w;
  std::size_t best = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (!std::isfinite(map.data[i])) {
      throw Refused("heatmaps hold NaN or infinity",
                    "check the model's weights and its input scaling; such an output has no joints");
    }
    if (map.data[i] > map.data[best]) best = i;
  }
  const float score = map.data[best];
  if (!(score > 0)) return {0, 0, score};
  return {static_cast<float>(best % map.w), static_cast<float>(best / map.w), score};
}

inline float sign(float value) { return static_cast<float>((value > 0) - (value < 0)); }

// The peak, a quarter pixel towards the higher neighbour. Source: HRNet's lib/core/inference.py.
inline Joint quarter_pixel(const Heatmap& map) {
  Joint joint = find_peak(map);
  const int x = static_cast<int>(joint.x), y = static_cast<int>(joint.y);
  if (x > 1 && x < map.w - 1 && y > 1 && y < map.h - 1) {
    joint.x += 0.25f * sign(map.at(x + 1, y) - map.at(x - 1, y));
    joint.y += 0.25f * sign(map.at(x, y + 1) - map.at(x, y - 1));
  }
  return joint;
}

using Patch = std::array<std::array<double, 5>, 5>;  // rows y-2..y+2 around a peak

// Logarithm of the smoothed map around (x, y): a Gaussian cut off 2.5 sigma away, zero outside the
// map, nothing below `floor`.
inline Patch log_around(const Heatmap& map, int x, int y, double sigma, double floor) {
  const int reach = std::max(1, static_cast<int>(2.5 * sigma + 0.5));
  std::vector<double> kernel(2 * reach + 1);
  double sum = 0;
  for (int i = -reach; i <= reach; ++i) sum += kernel[i + reach] = std::exp(-0.5 * (i / sigma) * (i / sigma));
  for (double& value : kernel) value /= sum;
  const int rows = 5 + 2 * reach;
  std::vector<double> across(static_cast<std::size_t>(rows) * 5);  // smoothed along x
  for (int row = 0; row < rows; ++row) {
    const int from_y = y + row - reach - 2;
    for (int b = 0; b < 5; ++b) {
      double value = 0;
      for (int i = -reach; i <= reach; ++i) {
        const int from_x = x + b - 2 + i;
        if (from_y >= 0 && from_y < map.h && from_x >= 0 && from_x < map.w) {
          value += kernel[i + reach] * map.at(from_x, from_y);
        }
      }
      across[static_cast<std::size_t>(row) * 5 + b] = value;
    }
  }
  Patch top;
  for (int a = 0; a < 5; ++a) {
    for (int b = 0; b < 5; ++b) {
      double value = 0;
      for (int i = 0; i <= 2 * reach; ++i) {
        value += kernel[i] * across[static_cast<std::size_t>(a + i) * 5 + b];
      }
      top[a][b] = std::log(std::max(value, floor));
    }
  }
  return top;
}

inline Joint newton_step(const Joint& peak, double dx, double dy, double dxx, double dyy, double dxy,
                         bool usable) {
  const double curvature = dxx * dyy - dxy * dxy;
  if (!usable || curvature == 0) return peak;
  return {static_cast<float>(peak.x - (dyy * dx - dxy * dy) / curvature),
          static_cast<float>(peak.y - (dxx * dy - dxy * dx) / curvature), peak.score};
}

// The top of a parabola through the logarithm. Source: Zhang et al. 2020 (DARK), eq. 5 to 9.
inline Joint dark(const Heatmap& map, double sigma) {
  const Joint peak = find_peak(map);
  const int x = static_cast<int>(peak.x), y = static_cast<int>(peak.y);
  const Patch t = log_around(map, x, y, sigma, 1e-10);
  const double dx = 0.5 * (t[2][3] - t[2][1]), dy = 0.5 * (t[3][2] - t[1][2]);
  const double dxx = 0.25 * (t[2][4] - 2 * t[2][2] + t[2][0]);
  const double dyy = 0.25 * (t[4][2] - 2 * t[2][2] + t[0][2]);
  const double dxy = 0.25 * (t[3][3] - t[1][3] - t[3][1] + t[1][1]);
  const bool inner = x > 1 && x < map.w - 2 && y > 1 && y < map.h - 2;
  return newton_step(peak, dx, dy, dxx, dyy, dxy, inner);
}

// As dark, with derivatives one pixel apart, up to the border, beyond which the map goes on as it
// ends. Source: Huang et al. 2020 (UDP); MMPose's refine_keypoints_dark_udp.
inline Joint dark_udp(const Heatmap& map, double sigma) {
  const Joint peak = find_peak(map);
  const int x = static_cast<int>(peak.x), y = static_cast<int>(peak.y);
  const Patch t = log_around(map, x, y, sigma, 1e-3);
  double m[3][3];
  for (int a = -1; a <= 1; ++a) {
    for (int b = -1; b <= 1; ++b) {
      const int row = std::clamp(y + a, 0, map.h - 1) - y + 2;
      const int column = std::clamp(x + b, 0, map.w - 1) - x + 2;
      m[a + 1][b + 1] = t[row][column];
    }
  }
  const double tiny = std::numeric_limits<float>::epsilon();
  const double dx = 0.5 * (m[1][2] - m[1][0]), dy = 0.5 * (m[2][1] - m[0][1]);
  const double dxx = m[1][2] - 2 * m[1][1] + m[1][0] + tiny;
  const double dyy = m[2][1] - 2 * m[1][1] + m[0][1] + tiny;
  const double sides = m[1][2] + m[2][1] + m[1][0] + m[0][1];
  const double dxy = 0.5 * (m[2][2] + m[0][0] + 2 * m[1][1] - sides);
  return newton_step(peak, dx, dy, dxx, dyy, dxy, true);
}

// One joint of a whole-pose graph: x, y in crop pixels, score.
inline Joint read_joint(const float* found) {
  for (int i = 0; i < 3; ++i) {
    if (!std::isfinite(found[i])) {
      throw Refused("joints hold NaN or infinity",
                    "check the model's weights and its input; such an output has no joints");
    }
  }
  return {found[0], found[1], found[2]};
}

// How joints stand in an artifact's heatmaps; as edgepose/device/codec.py.
struct Codec {
  std::string rule;     // argmax-quarter-pixel, argmax-dark or argmax-dark-udp
  int stride = 4;       // input px per heatmap px
  double sigma = 2.0;   // of the target Gaussian on a 64 x 64 heatmap

  bool centers() const { return rule == "argmax-dark-udp"; }

  double pitch(int heatmap_side) const {  // crop px per heatmap px along one axis
    if (!centers()) return stride;
    return static_cast<double>(stride * heatmap_side - 1) / std::max(heatmap_side - 1, 1);
  }

  Joint decode(const Heatmap& map) const {
    const double scaled = std::max(1.0, sigma * std::max(map.h, map.w) / 64.0);
    if (rule == "argmax-quarter-pixel") return quarter_pixel(map);
    if (rule == "argmax-dark") return dark(map, scaled);
    if (rule == "argmax-dark-udp") return dark_udp(map, scaled);
    throw Refused("this runner cannot decode by '" + rule + "'",
                  "build the runner again from this edgepose");
  }
};

}  // namespace edgepose
