// ONNX Runtime on the CPU. SPDX-License-Identifier: Apache-2.0
#include <onnxruntime_cxx_api.h>

#include "pose_estimator.hpp"

namespace edgepose {
namespace {

class OrtEngine : public Engine {
public:
    explicit OrtEngine(const Contract& contract)
        : environment_(ORT_LOGGING_LEVEL_ERROR, "edgepose"),
          inputName_(contract.inputName),
          outputName_(contract.outputName),
          shape_{1, 3, contract.height, contract.width} {
        Ort::SessionOptions options;
        if (contract.runtime == "tensorrt") {
            options.AddConfigEntry("session.disable_quant_qdq", "1");  // every Q/DQ literally
        } else {
            options.AddConfigEntry("session.x64quantprecision", "1");  // exact on x86 without VNNI
        }
        session_ = Ort::Session(environment_, contract.onnx().c_str(), options);
    }

    std::vector<float> infer(std::vector<float>& input) override {
        const Ort::MemoryInfo memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
        const Ort::Value image =
            Ort::Value::CreateTensor<float>(memory, input.data(), input.size(), shape_, 4);
        const char* inputs[] = {inputName_.c_str()};
        const char* outputs[] = {outputName_.c_str()};
        const auto found = session_.Run(Ort::RunOptions{nullptr}, inputs, &image, 1, outputs, 1);
        const float* values = found[0].GetTensorData<float>();
        return {values, values + found[0].GetTensorTypeAndShapeInfo().GetElementCount()};
    }

private:
    Ort::Env environment_;
    Ort::Session session_{nullptr};
    std::string inputName_, outputName_;
    std::int64_t shape_[4];
};

}  // namespace

std::unique_ptr<Engine> openEngine(const Contract& contract) { return std::make_unique<OrtEngine>(contract); }

}  // namespace edgepose
