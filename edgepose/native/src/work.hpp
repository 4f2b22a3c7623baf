// One benchmark, phase by phase; what is finished is on disk before the next begins. Writes what
// edgepose/device/work.py writes:
//   result.json      what was measured so far
//   joints.npz       crop_xy, image_xy (N, J, 2), score (N, J) float32
//   model.f64        milliseconds of every timed call, little-endian float64, as they came
//   end_to_end.f64   the same, from a frame and a box to joints in the frame
#pragma once

#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "board.hpp"
#include "decode.hpp"
#include "engine.hpp"
#include "files.hpp"
#include "geometry.hpp"
#include "json.hpp"
#include "npy.hpp"
#include "steadiness.hpp"
#include "timing.hpp"

namespace edgepose {

constexpr int kFrameH = 720, kFrameW = 1280;
constexpr std::array<double, 4> kBoxXywh = {490.0, 60.0, 300.0, 600.0};
constexpr int kBatch = 16;
constexpr std::size_t kFlush = 64;  // samples; then it is also seen whether somebody wants this to stop

using Report = std::function<void(const std::string& phase, std::int64_t done, std::int64_t total)>;

// What is to be done: lines of "word value", as edgepose/bench/native.py writes them. File names
// are relative to the job's own folder.
class Job {
 public:
  explicit Job(const std::string& path) : folder_(path.substr(0, path.rfind('/') + 1)) {
    std::istringstream lines(read_file(path));
    for (std::string line; std::getline(lines, line);) {
      const std::size_t space = line.find(' ');
      if (space != std::string::npos) words_[line.substr(0, space)] = line.substr(space + 1);
    }
    if (text("version") != "1") {
      throw Refused("the job is of version " + text("version") + ", this runner reads 1",
                    "build the runner again from this edgepose");
    }
  }
  bool has(const std::string& word) const { return words_.count(word) > 0; }
  std::string text(const std::string& word) const {
    const auto found = words_.find(word);
    if (found == words_.end()) {
      throw Refused("the job does not say " + word, "use the runner of this edgepose");
    }
    return found->second;
  }
  double number(const std::string& word) const {
    const std::string said = text(word);
    char* end = nullptr;
    const double value = std::strtod(said.c_str(), &end);
    if (end == said.c_str() || *end != '\0') {
      throw Refused("the job says " + word + " " + said, "use the runner of this edgepose");
    }
    return value;
  }
  int whole(const std::string& word) const { return static_cast<int>(number(word)); }
  std::array<double, 3> three(const std::string& word) const {
    std::istringstream values(text(word));
    std::array<double, 3> found{};
    if (!(values >> found[0] >> found[1] >> found[2])) {
      throw Refused("the job says " + word + " " + text(word), "use the runner of this edgepose");
    }
    return found;
  }
  std::string file(const std::string& word) const { return folder_ + text(word); }

 private:
  std::string folder_;
  std::map<std::string, std::string> words_;
};

// Writes times as they come, so that a board that dies keeps them.
class Samples {
 public:
  Samples(const std::string& folder, const std::string& phase, std::function<void(std::int64_t)> report)
      : file_(folder + "/" + phase + ".f64", O_WRONLY | O_CREAT | O_TRUNC),
        stop_(folder + "/stop"), report_(std::move(report)) {}
  void keep(std::int64_t elapsed_ns) {
    buffer_.push_back(static_cast<double>(elapsed_ns) / 1e6);
    if (buffer_.size() < kFlush) return;
    flush();
    if (exists(stop_)) throw Refused("the benchmark was stopped", "start it again");
  }
  void flush() {
    file_.write(buffer_.data(), buffer_.size() * sizeof(double));
    all_.insert(all_.end(), buffer_.begin(), buffer_.end());
    count_ += static_cast<std::int64_t>(buffer_.size());
    buffer_.clear();
    report_(count_);
  }
  const std::vector<double>& all() const { return all_; }

 private:
  Handle file_;
  std::string stop_;
  std::function<void(std::int64_t)> report_;
  std::vector<double> buffer_, all_;
  std::int64_t count_ = 0;
};

class Work {
 public:
  Work(const std::string& job, std::string folder, const std::string& library, Report report)
      : job_(job), folder_(std::move(folder)), report_(std::move(report)), library_(library) {
    codec_ = Codec{job_.text("rule"), job_.whole("stride"), job_.number("sigma")};
    normalise_ = Normalisation{job_.three("mean"), job_.three("std"), job_.text("color") == "BGR"};
    h_ = job_.whole("height"), w_ = job_.whole("width");
    whole_pose_ = job_.text("gives") == "joints";
    result_["notes"] = notes_;
    result_["timings"] = timings_;
  }

  void run() {
    report_("look at the board", 0, 1);
    result_["board"] = read_board(notes_);
    save("board");
    report_("load the model", 0, 1);
    const std::int64_t start = now_ns();
    const Runtime runtime = open_runtime(library_);
    if (runtime.api == nullptr) {
      throw Refused("no runtime on the board for " + job_.text("name") + ": onnxruntime " + runtime.why_not,
                    "put the device's own libonnxruntime.so beside the runner");
    }
    Engine::Options options{job_.text("name"), job_.text("input"), job_.text("output"), whole_pose_,
                            job_.whole("threads"), false};
    options.exact = job_.text("precision") == "int8" && saturating(instruction_set()) && job_.has("exact");
    const std::string model = read_file(job_.file(options.exact ? "exact" : "model"));
    Engine engine(runtime, model, options);
    result_["runtime"] = "onnxruntime";
    result_["executor"] = "ONNX Runtime " + runtime.version + " CPU " + instruction_set() +
                          (options.exact ? " (no VNNI), model.onnx in exact mode" : "") + ", native runner";
    result_["stand_in"] = false;
    result_["build"] = Fields{};
    result_["layers"] = Fields{};
    result_["load_seconds"] = static_cast<double>(now_ns() - start) / 1e9;
    try {
      phases(engine);
    } catch (...) {
      result_["peak_memory_bytes"] = peak_memory_bytes();
      write();
      throw;
    }
  }

  Json result() const { return result_; }

 private:
  static std::int64_t peak_memory_bytes() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
      if (line.rfind("VmHWM:", 0) == 0) return std::atoll(line.c_str() + 6) * 1024;
    }
    return 0;
  }
  void write() {
    result_["notes"] = notes_;
    result_["timings"] = timings_;
    result_["phases"] = phases_;
    write_atomic(folder_ + "/result.json", Json(result_).text() + "\n");
  }
  void save(const std::string& phase) {
    phases_.push_back(phase);
    result_["peak_memory_bytes"] = peak_memory_bytes();
    write();
  }

  void phases(Engine& engine) {
    const int batch = engine.fixed_batch() ? engine.fixed_batch() : job_.whole("batch");
    const std::size_t crop_bytes = static_cast<std::size_t>(h_) * w_ * 3;
    const auto noise = [](std::size_t size) {
      std::mt19937 random(0);
      std::vector<std::uint8_t> bytes(size);
      for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random());
      return bytes;
    };
    const std::vector<std::uint8_t> crops = noise(crop_bytes * static_cast<std::size_t>(batch));
    const auto fill = [&] { feed(engine, crops.data(), batch, batch); };
    fill();
    const std::int64_t start = now_ns();
    engine.infer();
    result_["first_inference_ms"] = static_cast<double>(now_ns() - start) / 1e6;
    save("load");
    if (job_.has("pack")) score(engine);
    fill();
    time("model", [&] { engine.infer(); }, batch);
    result_["gpu_memory_used_bytes"] = nullptr;
    result_["resampler"] = "edgepose native";
    result_["frame_hw"] = std::vector<int>{kFrameH, kFrameW};
    if (batch == 1 || engine.fixed_batch() == 0) {
      const std::vector<std::uint8_t> frame = noise(static_cast<std::size_t>(kFrameH) * kFrameW * 3);
      std::vector<std::uint8_t> crop(crop_bytes);
      std::vector<Joint> joints;
      time("end_to_end", [&] { frame_to_joints(engine, frame, crop, joints); }, 1);
    }
    result_["clocks_after"] = read_clocks().json();
    save("finished");
  }

  // Crops (given, h, w, 3) RGB as an input of n images, filled up with the last one.
  void feed(Engine& engine, const std::uint8_t* crops, int given, int n) const {
    const std::size_t each = static_cast<std::size_t>(h_) * w_ * 3;
    for (int i = 0; i < n; ++i) {
      const std::uint8_t* crop = crops + each * static_cast<std::size_t>(std::min(i, given - 1));
      const std::size_t at = each * static_cast<std::size_t>(i);
      if (whole_pose_) {
        normalise_.order(crop, each, engine.input_bytes(n, h_, w_) + at);
      } else {
        normalise_.apply(crop, 1, h_, w_, engine.input(n, h_, w_) + at);
      }
    }
  }

  // Joints of one image of the last inference: in heatmap pixels, of a whole-pose graph in crop pixels.
  void decode(const Engine& engine, int image, std::vector<Joint>& joints) const {
    const std::int64_t* s = engine.shape();
    joints.resize(static_cast<std::size_t>(s[1]));
    for (std::int64_t j = 0; j < s[1]; ++j) {
      const std::int64_t each = whole_pose_ ? 3 : s[2] * s[3];
      const float* found = engine.output().data() + (image * s[1] + j) * each;
      joints[static_cast<std::size_t>(j)] =
          whole_pose_ ? read_joint(found)
                      : codec_.decode({found, static_cast<int>(s[2]), static_cast<int>(s[3])});
    }
  }

  // Crop pixels and, through the inverse of the crop's matrix, image pixels.
  void place(const Engine& engine, const Joint& joint, const Matrix& back, float* crop_xy,
             float* image_xy) const {
    const std::int64_t* s = engine.shape();
    const double px = whole_pose_ ? 1.0 : codec_.pitch(static_cast<int>(s[3]));
    const double py = whole_pose_ ? 1.0 : codec_.pitch(static_cast<int>(s[2]));
    crop_xy[0] = joint.x * static_cast<float>(px), crop_xy[1] = joint.y * static_cast<float>(py);
    const double x = joint.x * px, y = joint.y * py;
    image_xy[0] = static_cast<float>(back[0] * x + back[1] * y + back[2]);
    image_xy[1] = static_cast<float>(back[3] * x + back[4] * y + back[5]);
  }

  void frame_to_joints(Engine& engine, const std::vector<std::uint8_t>& frame,
                       std::vector<std::uint8_t>& crop, std::vector<Joint>& joints) const {
    const Matrix matrix = crop_matrix(kBoxXywh, job_.number("padding"), h_, w_, codec_.centers());
    warp_affine(frame.data(), kFrameH, kFrameW, matrix, crop.data(), h_, w_);
    feed(engine, crop.data(), 1, 1);
    engine.infer();
    decode(engine, 0, joints);
    const Matrix back = invert(matrix);
    for (Joint& joint : joints) {
      float crop_xy[2], image_xy[2];
      place(engine, joint, back, crop_xy, image_xy);
      joint.x = image_xy[0], joint.y = image_xy[1];
    }
  }

  void score(Engine& engine) {
    const std::string file = read_file(job_.file("pack"));
    const std::vector<Array> arrays = read_arrays(file);
    const bool good = arrays.size() == 6 && arrays[1].descr == "|u1" && arrays[1].shape.size() == 4 &&
                      arrays[1].shape[3] == 3 && arrays[2].descr == "<f8" &&
                      arrays[2].shape == std::vector<std::int64_t>{arrays[1].shape[0], 2, 3};
    if (!good || arrays[1].shape[1] != h_ || arrays[1].shape[2] != w_) {
      throw Refused("the pack's crops are not those that the model takes",
                    "send the pack that was made for this artifact");
    }
    const int count = static_cast<int>(arrays[1].shape[0]);
    const int size = engine.fixed_batch() ? engine.fixed_batch() : std::min(kBatch, count);
    const auto* crops = reinterpret_cast<const std::uint8_t*>(arrays[1].data);
    const std::size_t crop_bytes = static_cast<std::size_t>(h_) * w_ * 3;
    std::vector<float> crop_xy, image_xy, scores;
    std::vector<Joint> joints;
    for (int start = 0; start < count; start += size) {
      const int part = std::min(size, count - start);
      const int n = engine.fixed_batch() ? size : part;  // a fixed batch is filled up with the last one
      feed(engine, crops + crop_bytes * static_cast<std::size_t>(start), part, n);
      engine.infer();
      for (int i = 0; i < part; ++i) {
        Matrix matrix;
        std::memcpy(matrix.data(), arrays[2].data + sizeof matrix * static_cast<std::size_t>(start + i),
                    sizeof matrix);
        const Matrix back = invert(matrix);
        decode(engine, i, joints);
        for (const Joint& joint : joints) {
          float c[2], m[2];
          place(engine, joint, back, c, m);
          crop_xy.insert(crop_xy.end(), c, c + 2);
          image_xy.insert(image_xy.end(), m, m + 2);
          scores.push_back(joint.score);
        }
      }
      report_("score", std::min(start + size, count), count);
    }
    const std::int64_t each = engine.shape()[1];
    const auto npy = [](const std::vector<float>& values, const std::vector<std::int64_t>& shape) {
      return npy_header("<f4", shape) +
             std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
    };
    write_atomic(folder_ + "/joints.npz", npz({{"crop_xy", npy(crop_xy, {count, each, 2})},
                                               {"image_xy", npy(image_xy, {count, each, 2})},
                                               {"score", npy(scores, {count, each})}}));
    result_["persons"] = count;
    save("score");
  }

  void time(const std::string& phase, const std::function<void()>& call, int batch) {
    const int calls = job_.whole("calls");
    Samples samples(folder_, phase, [&](std::int64_t done) {
      report_("time " + phase, std::min<std::int64_t>(done, calls), calls);
    });
    const Clocks before = read_clocks();
    Timing timing;
    try {
      timing = measure(call, job_.whole("warmup"), job_.whole("max_warmup"), calls, job_.number("seconds"),
                       [&](std::int64_t elapsed) { samples.keep(elapsed); });
    } catch (...) {
      samples.flush();
      throw;
    }
    samples.flush();
    timings_[phase] = Json{{"batch", batch}, {"warmup", timing.warmup_calls}, {"count", timing.count}};
    if (!timing.settled) {
      notes_.push_back("the times (" + phase + ") had not settled when the warm-up ended");
    }
    const auto said = steadiness_notes(phase, samples.all(), before, read_clocks());
    notes_.insert(notes_.end(), said.begin(), said.end());
    save(phase);
  }

  Job job_;
  std::string folder_;
  Report report_;
  std::string library_;
  Codec codec_;
  Normalisation normalise_;
  int h_ = 0, w_ = 0;
  bool whole_pose_ = false;
  Fields result_, timings_;
  std::vector<std::string> notes_, phases_;
};

}  // namespace edgepose
