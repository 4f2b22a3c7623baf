// ONNX Runtime on the CPU. SPDX-License-Identifier: Apache-2.0
#include <onnxruntime_cxx_api.h>

#include "pose_estimator.hpp"

namespace edgepose {
namespace {

class OrtEngine : public Engine {
public:
    OrtEngine(const Contract& contract, const Network& network)
        : environment_(ORT_LOGGING_LEVEL_ERROR, "edgepose"),
          inputName_(network.inputName),
          outputName_(network.outputName),
          wholePose_(network.wholePose),
          count_(std::size_t(3) * network.height * network.width) {
        if (wholePose_) shape_ = {1, network.height, network.width, 3};
        else shape_ = {1, 3, network.height, network.width};
        Ort::SessionOptions options;
        if (contract.runtime == "tensorrt") {
            options.AddConfigEntry("session.disable_quant_qdq", "1");  // every Q/DQ literally
        } else {
            options.AddConfigEntry("session.x64quantprecision", "1");  // exact on x86 without VNNI
        }
        session_ = Ort::Session(environment_, network.onnx().c_str(), options);
    }

    std::vector<float> infer(const void* input) override {
        const Ort::MemoryInfo memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
        const auto type =
            wholePose_ ? ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
        const Ort::Value image =  // ONNX Runtime does not write to its inputs
            Ort::Value::CreateTensor(memory, const_cast<void*>(input), count_ * (wholePose_ ? 1 : sizeof(float)),
                                     shape_.data(), shape_.size(), type);
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
    bool wholePose_;
    std::size_t count_;
    std::array<std::int64_t, 4> shape_{};
};

}  // namespace

std::unique_ptr<Engine> openEngine(const Contract& contract, const Network& network) {
    return std::make_unique<OrtEngine>(contract, network);
}

}  // namespace edgepose
