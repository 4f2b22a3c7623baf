// From a person's box to the network's input: edgepose/device/geometry.py in C++. Pixel centres are at
// integers, a matrix is (2, 3) row by row and maps image pixels to crop pixels.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "refused.hpp"

namespace edgepose {

using Matrix = std::array<double, 6>;

inline Matrix invert(const Matrix& m) {
  const double determinant = m[0] * m[4] - m[1] * m[3];
  if (!std::isfinite(determinant) || determinant == 0) {
    throw Refused("a crop matrix cannot be inverted", "send the pack that edgepose wrote");
  }
  Matrix out;
  out[0] = m[4] / determinant, out[1] = -m[1] / determinant;
  out[3] = -m[3] / determinant, out[4] = m[0] / determinant;
  out[2] = -(out[0] * m[2] + out[1] * m[5]);
  out[5] = -(out[3] * m[2] + out[4] * m[5]);
  return out;
}

// The crop of a box, turned by nothing. centers: measured between the centres of the outer pixels.
inline Matrix crop_matrix(const std::array<double, 4>& box_xywh, double padding, int out_h, int out_w,
                          bool centers) {
  const double aspect = static_cast<double>(out_w) / out_h;
  const double longest = std::max(box_xywh[2], box_xywh[3]);
  double region_w = padding * longest, region_h = region_w;
  if (out_w != out_h) {
    region_w = std::max(box_xywh[2], box_xywh[3] * aspect) * (padding * longest / longest);
    region_h = region_w / aspect;
  }
  const double less = centers ? 1.0 : 0.0;
  const double fx = (out_w - less) / region_w;
  const double fy = centers ? (out_h - 1.0) / region_h : fx;
  const double center_x = box_xywh[0] + 0.5 * box_xywh[2];
  const double center_y = box_xywh[1] + 0.5 * box_xywh[3];
  return {fx, 0, 0.5 * (out_w - less) - fx * center_x, 0, fy, 0.5 * (out_h - less) - fy * center_y};
}

// Bilinear crop with a zero border, (h, w, 3) uint8 -> (out_h, out_w, 3): exact coordinates, rounded
// once; equal to warp_affine_numpy.
inline void warp_affine(const std::uint8_t* image, int h, int w, const Matrix& matrix,
                        std::uint8_t* out, int out_h, int out_w) {
  const Matrix back = invert(matrix);
  const auto tap = [&](int x, int y, int c) -> float {
    if (x < 0 || y < 0 || x >= w || y >= h) return 0;
    return image[(static_cast<std::size_t>(y) * w + x) * 3 + c];
  };
  for (int row = 0; row < out_h; ++row) {
    for (int column = 0; column < out_w; ++column) {
      const double x = std::clamp(back[0] * column + (back[1] * row + back[2]), -1.0, double(w));
      const double y = std::clamp(back[3] * column + (back[4] * row + back[5]), -1.0, double(h));
      const int left = static_cast<int>(std::floor(x)), top = static_cast<int>(std::floor(y));
      const float fx = static_cast<float>(x - left), fy = static_cast<float>(y - top);
      const bool inside = left >= 0 && top >= 0 && left + 1 < w && top + 1 < h;
      for (int c = 0; c < 3; ++c) {
        float a, b, d, e;
        if (inside) {
          const std::uint8_t* p = image + (static_cast<std::size_t>(top) * w + left) * 3 + c;
          a = p[0], b = p[3], d = p[3 * w], e = p[3 * w + 3];
        } else {
          a = tap(left, top, c), b = tap(left + 1, top, c);
          d = tap(left, top + 1, c), e = tap(left + 1, top + 1, c);
        }
        const float upper = a + (b - a) * fx, lower = d + (e - d) * fx;
        *out++ = static_cast<std::uint8_t>(std::nearbyint(upper + (lower - upper) * fy));
      }
    }
  }
}

// What the network is fed: (value / 255 - mean) / std per channel, in the order `color`.
struct Normalisation {
  std::array<double, 3> mean{}, std{};
  bool bgr = false;

  // RGB bytes in the order `color`, as they are: what a whole-pose graph takes.
  void order(const std::uint8_t* rgb, std::size_t count, std::uint8_t* out) const {
    for (std::size_t i = 0; i < count; i += 3) {
      out[i] = rgb[bgr ? i + 2 : i], out[i + 1] = rgb[i + 1], out[i + 2] = rgb[bgr ? i : i + 2];
    }
  }

  // n crops of (h, w, 3) uint8 RGB -> (n, 3, h, w) float.
  void apply(const std::uint8_t* crops, int n, int h, int w, float* out) const {
    const std::size_t plane = static_cast<std::size_t>(h) * w;
    for (int i = 0; i < n; ++i) {
      const std::uint8_t* crop = crops + plane * 3 * i;
      for (int c = 0; c < 3; ++c) {
        const float scale = static_cast<float>(1.0 / (255.0 * std[c]));
        const float shift = static_cast<float>(mean[c] / std[c]);
        const std::uint8_t* from = crop + (bgr ? 2 - c : c);
        for (std::size_t k = 0; k < plane; ++k) *out++ = from[3 * k] * scale - shift;
      }
    }
  }
};

}  // namespace edgepose
