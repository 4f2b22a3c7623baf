// What the native runner computes, on arrays from a test: numerics COMMAND < arrays > arrays.
#include <cstdio>
#include <iostream>
#include <iterator>

#include "decode.hpp"
#include "files.hpp"
#include "geometry.hpp"
#include "npy.hpp"
#include "timing.hpp"

using namespace edgepose;

static void give(const std::string& descr, const std::vector<std::int64_t>& shape, const void* data,
                 std::size_t bytes) {
  std::cout << npy_header(descr, shape);
  std::cout.write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
}

static void decode(const std::vector<Array>& in, const Codec& codec) {
  const auto* maps = reinterpret_cast<const float*>(in[0].data);
  const std::int64_t n = in[0].shape[0], h = in[0].shape[1], w = in[0].shape[2];
  std::vector<float> out;
  for (std::int64_t i = 0; i < n; ++i) {
    const Joint joint = codec.decode({maps + i * h * w, static_cast<int>(h), static_cast<int>(w)});
    out.insert(out.end(), {joint.x, joint.y, joint.score});
  }
  give("<f4", {n, 3}, out.data(), out.size() * 4);
  const double pitch[2] = {codec.pitch(static_cast<int>(w)), codec.pitch(static_cast<int>(h))};
  give("<f8", {2}, pitch, sizeof pitch);
}

static void warp(const std::vector<Array>& in) {  // image, matrix, (out_h, out_w) int64, mean and std
  Matrix matrix;
  std::memcpy(matrix.data(), in[1].data, sizeof matrix);
  const auto* sides = reinterpret_cast<const std::int64_t*>(in[2].data);
  const int h = static_cast<int>(sides[0]), w = static_cast<int>(sides[1]);
  std::vector<std::uint8_t> crop(static_cast<std::size_t>(h) * w * 3);
  warp_affine(reinterpret_cast<const std::uint8_t*>(in[0].data), static_cast<int>(in[0].shape[0]),
              static_cast<int>(in[0].shape[1]), matrix, crop.data(), h, w);
  give("|u1", {h, w, 3}, crop.data(), crop.size());
  Normalisation normalise;
  std::memcpy(normalise.mean.data(), in[3].data, 24);
  std::memcpy(normalise.std.data(), in[3].data + 24, 24);
  std::vector<float> images(crop.size());
  normalise.apply(crop.data(), 1, h, w, images.data());
  give("<f4", {1, 3, h, w}, images.data(), images.size() * 4);
}

static void crop(const std::vector<Array>& in, bool centers) {  // box, (padding, out_h, out_w) float64
  std::array<double, 4> box;
  std::memcpy(box.data(), in[0].data, sizeof box);
  const auto* asked = reinterpret_cast<const double*>(in[1].data);
  const Matrix matrix = crop_matrix(box, asked[0], static_cast<int>(asked[1]), static_cast<int>(asked[2]), centers);
  give("<f8", {2, 3}, matrix.data(), sizeof matrix);
  const Matrix back = invert(matrix);
  give("<f8", {2, 3}, back.data(), sizeof back);
}

static void time(const std::vector<Array>& in) {  // (warmup, max_warmup, repeats, sleep ms...) int64
  const auto* asked = reinterpret_cast<const std::int64_t*>(in[0].data);
  std::size_t call = 0;
  std::vector<double> kept;
  const Timing timing = measure(
      [&] {
        const std::int64_t until = now_ns() + asked[3 + std::min(call++, std::size_t(in[0].shape[0] - 4))] * 1000;
        while (now_ns() < until) {
        }
      },
      static_cast<int>(asked[0]), static_cast<int>(asked[1]), static_cast<int>(asked[2]), 0,
      [&](std::int64_t elapsed) { kept.push_back(static_cast<double>(elapsed) / 1e3); });
  const double said[3] = {double(timing.count), double(timing.warmup_calls), double(timing.settled)};
  give("<f8", {3}, said, sizeof said);
  give("<f8", {static_cast<std::int64_t>(kept.size())}, kept.data(), kept.size() * 8);
}

int main(int, char** words) {
  const std::string file((std::istreambuf_iterator<char>(std::cin)), {});
  const std::string command = words[1];
  try {
    if (command == "sha256") {
      Sha256 sum;
      for (const char byte : file) sum.add(&byte, 1);
      Sha256 whole;
      whole.add(file.data(), file.size());
      std::cout << sum.hex() << " " << whole.hex();
      return 0;
    }
    const std::vector<Array> in = read_arrays(file);
    if (command == "decode") decode(in, Codec{words[2], std::stoi(words[3]), std::stod(words[4])});
    if (command == "warp") warp(in);
    if (command == "crop") crop(in, words[2][0] == '1');
    if (command == "time") time(in);
    if (command == "echo") {
      for (const Array& array : in) give(array.descr, array.shape, array.data, array.bytes);
    }
    if (command == "npz") {
      std::cout << npz({{"first", npy_header(in[0].descr, in[0].shape) + std::string(in[0].data, in[0].bytes)},
                        {"second", npy_header(in[1].descr, in[1].shape) + std::string(in[1].data, in[1].bytes)}});
    }
  } catch (const Refused& error) {
    std::cerr << error.what() << "\n  fix: " << error.fix << "\n";
    return 2;
  }
  return 0;
}
