// ONNX Runtime on the CPU, opened at run time: only its C header is needed to build this.
#pragma once

#include <dlfcn.h>
#include <onnxruntime_c_api.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "refused.hpp"

namespace edgepose {

constexpr std::uint32_t kApi = 8;  // ONNX Runtime 1.8: everything here is in it, later ones keep it

struct Runtime {
  const OrtApi* api = nullptr;
  std::string version, why_not;  // why_not: where there is none
};

inline Runtime open_runtime(const std::string& library) {
  Runtime runtime;
  void* handle = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* why = ::dlerror();
    runtime.why_not = std::string("cannot be loaded: ") + (why ? why : library);
    return runtime;
  }
  using Base = const OrtApiBase* (*)();
  const auto base = reinterpret_cast<Base>(::dlsym(handle, "OrtGetApiBase"));
  if (base == nullptr) {
    runtime.why_not = library + " is not ONNX Runtime";
    return runtime;
  }
  runtime.version = base()->GetVersionString();
  runtime.api = base()->GetApi(kApi);
  if (runtime.api == nullptr) runtime.why_not = "ONNX Runtime " + runtime.version + " is older than 1.8";
  return runtime;
}

// One network, loaded. Input and output stay where they are: nothing is allocated while it is timed.
class Engine {
 public:
  struct Options {
    std::string name, input, output;  // the artifact's name, the model's ports
    bool whole_pose = false;          // bytes (N, h, w, 3) in and joints out, not floats and heatmaps
    int threads = 0;                  // 0: ONNX Runtime's own choice
    bool exact = false;               // x86 without VNNI: 8-bit products that cannot saturate
  };

  Engine(const Runtime& runtime, const std::string& model, const Options& options)
      : runtime_(runtime), api_(*runtime.api), options_(options) {
    check(api_.CreateEnv(ORT_LOGGING_LEVEL_ERROR, "edgepose", &env_));
    OrtSessionOptions* settings = nullptr;
    check(api_.CreateSessionOptions(&settings));
    OrtStatus* failed = api_.SetSessionLogSeverityLevel(settings, 3);
    if (!failed) failed = api_.SetInterOpNumThreads(settings, 1);
    if (!failed && options.threads > 0) failed = api_.SetIntraOpNumThreads(settings, options.threads);
    if (!failed && options.exact) {
      failed = api_.AddSessionConfigEntry(settings, "session.x64quantprecision", "1");
    }
    if (!failed) {
      failed = api_.CreateSessionFromArray(env_, model.data(), model.size(), settings, &session_);
    }
    api_.ReleaseSessionOptions(settings);
    if (failed) {
      throw Refused("ONNX Runtime " + runtime.version + " on the board cannot load " + options.name +
                        ": " + told(failed),
                    "build the runner with a newer ONNX Runtime, or export for an older one");
    }
    check(api_.CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory_));
    ports();
  }
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  ~Engine() {
    release();
    if (memory_) api_.ReleaseMemoryInfo(memory_);
    if (session_) api_.ReleaseSession(session_);
    if (env_) api_.ReleaseEnv(env_);
  }

  int fixed_batch() const { return fixed_batch_; }  // 0: any

  // Room for n images of (3, h, w) floats; it stays valid until another n is asked for.
  float* input(int n, int h, int w) {
    if (resized(n, h, w)) {
      images_.assign(static_cast<std::size_t>(n) * 3 * h * w, 0);
      const std::int64_t shape[4] = {n, 3, h, w};
      input_ = tensor(images_, shape, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
    }
    return images_.data();
  }

  // The same for a whole-pose graph: n images of (h, w, 3) bytes.
  std::uint8_t* input_bytes(int n, int h, int w) {
    if (resized(n, h, w)) {
      bytes_.assign(static_cast<std::size_t>(n) * 3 * h * w, 0);
      const std::int64_t shape[4] = {n, h, w, 3};
      input_ = tensor(bytes_, shape, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8);
    }
    return bytes_.data();
  }

  // The network on what `input` gave room for; returns when its output is in memory.
  void infer() {
    const char* inputs[] = {options_.input.c_str()};
    const char* outputs[] = {options_.output.c_str()};
    const OrtValue* given[] = {input_};
    OrtValue* found[] = {output_};
    check(api_.Run(session_, nullptr, inputs, given, 1, outputs, 1, found));
    if (output_ == nullptr) keep(found[0]);
  }

  const std::vector<float>& output() const { return found_; }
  const std::int64_t* shape() const { return shape_; }  // (n, J, h, w), or joints (n, J, 3)

 private:
  std::string told(OrtStatus* status) const {
    const std::string text = api_.GetErrorMessage(status);
    api_.ReleaseStatus(status);
    return text;
  }
  void check(OrtStatus* status) const {
    if (status != nullptr) {
      throw Refused("ONNX Runtime " + runtime_.version + " failed on the board: " + told(status),
                    "check the model with `edgepose bench` on this computer");
    }
  }
  bool resized(int n, int h, int w) {
    if (n == n_ && h == h_ && w == w_) return false;
    release();
    n_ = n, h_ = h, w_ = w;
    return true;
  }
  template <typename Number>
  OrtValue* tensor(std::vector<Number>& data, const std::int64_t* shape, ONNXTensorElementDataType type,
                   std::size_t rank = 4) {
    OrtValue* value = nullptr;
    check(api_.CreateTensorWithDataAsOrtValue(memory_, data.data(), data.size() * sizeof(Number), shape,
                                              rank, type, &value));
    return value;
  }
  // The first output of a batch size tells its shape; from then on it is written where it lies.
  void keep(OrtValue* first) {
    OrtTensorTypeAndShapeInfo* info = nullptr;
    ONNXTensorElementDataType type{};
    std::size_t rank = 0;
    float* data = nullptr;
    OrtStatus* failed = api_.GetTensorTypeAndShape(first, &info);
    if (!failed) failed = api_.GetTensorElementType(info, &type);
    if (!failed) failed = api_.GetDimensionsCount(info, &rank);
    const std::size_t wanted = options_.whole_pose ? 3 : 4;
    if (!failed && rank == wanted) failed = api_.GetDimensions(info, shape_, rank);
    if (info) api_.ReleaseTensorTypeAndShapeInfo(info);
    if (!failed) failed = api_.GetTensorMutableData(first, reinterpret_cast<void**>(&data));
    std::int64_t count = 1;
    for (std::size_t i = 0; i < wanted; ++i) count *= shape_[i];
    const bool good = !failed && rank == wanted && type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT &&
                      shape_[0] == n_ && count > 0 && (!options_.whole_pose || shape_[2] == 3);
    if (good) found_.assign(data, data + count);
    api_.ReleaseValue(first);
    check(failed);
    if (!good) {
      throw Refused("the output of " + options_.name + " is not float " +
                        (options_.whole_pose ? "joints (N, J, 3)" : "heatmaps (N, J, h, w)"),
                    "export again with this edgepose");
    }
    output_ = tensor(found_, shape_, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, rank);
  }
  void release() {
    if (input_) api_.ReleaseValue(input_);
    if (output_) api_.ReleaseValue(output_);
    input_ = output_ = nullptr;
  }
  void ports() {
    OrtAllocator* allocator = nullptr;
    check(api_.GetAllocatorWithDefaultOptions(&allocator));
    std::size_t inputs = 0, outputs = 0;
    check(api_.SessionGetInputCount(session_, &inputs));
    check(api_.SessionGetOutputCount(session_, &outputs));
    const auto named = [&](auto get) {
      char* text = nullptr;
      check(get(session_, 0, allocator, &text));
      const std::string name = text;
      check(api_.AllocatorFree(allocator, text));
      return name;
    };
    if (inputs != 1 || outputs != 1 || named(api_.SessionGetInputName) != options_.input ||
        named(api_.SessionGetOutputName) != options_.output) {
      throw Refused("the model file has other inputs or outputs than artifact.json says",
                    "export again; the two files are not of one artifact");
    }
    OrtTypeInfo* type = nullptr;
    check(api_.SessionGetInputTypeInfo(session_, 0, &type));
    const OrtTensorTypeAndShapeInfo* info = nullptr;
    std::int64_t sides[4] = {0, 0, 0, 0};
    std::size_t rank = 0;
    OrtStatus* failed = api_.CastTypeInfoToTensorInfo(type, &info);
    if (!failed && info) failed = api_.GetDimensionsCount(info, &rank);
    if (!failed && rank == 4) failed = api_.GetDimensions(info, sides, 4);
    api_.ReleaseTypeInfo(type);
    check(failed);
    fixed_batch_ = sides[0] > 0 ? static_cast<int>(sides[0]) : 0;
  }

  Runtime runtime_;
  const OrtApi& api_;
  Options options_;
  OrtEnv* env_ = nullptr;
  OrtSession* session_ = nullptr;
  OrtMemoryInfo* memory_ = nullptr;
  OrtValue* input_ = nullptr;
  OrtValue* output_ = nullptr;
  std::vector<float> images_, found_;
  std::vector<std::uint8_t> bytes_;
  std::int64_t shape_[4] = {0, 0, 0, 0};
  int n_ = 0, h_ = 0, w_ = 0, fixed_batch_ = 0;
};

}  // namespace edgepose
