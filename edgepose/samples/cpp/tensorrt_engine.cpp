// TensorRT 8.5 to 10. The engine is built on the device, once, and kept beside the model under a name
// that holds GPU, TensorRT version and the hashes of model and settings. SPDX-License-Identifier: Apache-2.0
#include <NvInfer.h>
#include <NvOnnxParser.h>
#include <cuda_runtime_api.h>

#include <cctype>
#include <cstdio>
#include <iostream>
#include <iterator>

#include "pose_estimator.hpp"

namespace edgepose {
namespace {

class Logger : public nvinfer1::ILogger {
    void log(Severity severity, const char* message) noexcept override {
        if (severity <= Severity::kERROR) std::cerr << "TensorRT: " << message << "\n";
    }
};

// TensorRT keeps the first logger that it is given, for every engine of the process.
Logger& logger() {
    static Logger one;
    return one;
}

template <typename T>
std::unique_ptr<T> made(T* object, const char* what) {
    if (object == nullptr) throw std::runtime_error(std::string("TensorRT could not make ") + what);
    return std::unique_ptr<T>(object);
}

void check(cudaError_t status) {
    if (status != cudaSuccess) throw std::runtime_error(cudaGetErrorString(status));
}

struct DeviceMemory {
    explicit DeviceMemory(std::size_t bytes) { check(cudaMalloc(&at, bytes)); }
    ~DeviceMemory() { cudaFree(at); }
    DeviceMemory(const DeviceMemory&) = delete;
    DeviceMemory& operator=(const DeviceMemory&) = delete;
    void* at = nullptr;
};

struct Stream {
    Stream() { check(cudaStreamCreate(&at)); }
    ~Stream() { cudaStreamDestroy(at); }
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    cudaStream_t at = nullptr;
};

std::string engineName(const Contract& contract, const Network& network) {
    cudaDeviceProp device{};
    check(cudaGetDeviceProperties(&device, 0));
    std::string gpu = device.name;
    for (char& letter : gpu) {
        if (!std::isalnum(static_cast<unsigned char>(letter))) letter = '_';
    }
    // Xavier and Xavier NX share name and architecture, but not the count of multiprocessors.
    return contract.folder + "/" + gpu + "-sm" + std::to_string(device.major) + std::to_string(device.minor) +
           "x" + std::to_string(device.multiProcessorCount) + "-trt" + std::to_string(getInferLibVersion()) +
           "-" + network.modelSha256.substr(0, 16) + "-" + network.buildSha256.substr(0, 16) + ".engine";
}

// waiting: {layer: "fp16" or "fp32"}, what INT8, or of a whole-pose graph FP16, would get wrong.
void holdPrecisions(nvinfer1::INetworkDefinition& graph, nlohmann::json waiting) {
    for (std::int32_t i = 0; i < graph.getNbLayers(); ++i) {
        nvinfer1::ILayer* layer = graph.getLayer(i);
        const auto held = waiting.find(layer->getName());
        if (held == waiting.end()) continue;
        layer->setPrecision(*held == "fp16" ? nvinfer1::DataType::kHALF : nvinfer1::DataType::kFLOAT);
        waiting.erase(held);
    }
    if (!waiting.empty()) throw std::runtime_error("TensorRT's network has no layer " + waiting.begin().key());
}

std::vector<char> build(const Network& network) {
    std::ifstream stream(network.path("build"));
    const nlohmann::json settings = nlohmann::json::parse(stream);
    const auto builder = made(nvinfer1::createInferBuilder(logger()), "a builder");
    const auto explicitBatch =
        1U << std::uint32_t(nvinfer1::NetworkDefinitionCreationFlag::kEXPLICIT_BATCH);
    const auto graph = made(builder->createNetworkV2(explicitBatch), "a network");
    const auto parser = made(nvonnxparser::createParser(*graph, logger()), "a parser");
    const std::string onnx = network.onnx();
    if (!parser->parseFromFile(onnx.c_str(), int(nvinfer1::ILogger::Severity::kERROR))) {
        throw std::runtime_error("TensorRT cannot read " + onnx);
    }
    const auto config = made(builder->createBuilderConfig(), "a configuration");
    const std::size_t workspace = settings.at("workspace_mib").get<std::size_t>() << 20;
    config->setMemoryPoolLimit(nvinfer1::MemoryPoolType::kWORKSPACE, workspace);
    for (const std::string flag : settings.at("builder_flags")) {
        if (flag == "INT8") config->setFlag(nvinfer1::BuilderFlag::kINT8);
        else if (flag == "FP16") config->setFlag(nvinfer1::BuilderFlag::kFP16);
        else if (flag == "OBEY_PRECISION_CONSTRAINTS") {
            config->setFlag(nvinfer1::BuilderFlag::kOBEY_PRECISION_CONSTRAINTS);
        }
        else throw std::runtime_error("build.json has a flag that this sample does not know: " + flag);
    }
    for (const std::string flag : settings.value("cleared_flags", nlohmann::json::array())) {
        if (flag == "TF32") config->clearFlag(nvinfer1::BuilderFlag::kTF32);
        else throw std::runtime_error("build.json clears a flag that this sample does not know: " + flag);
    }
    holdPrecisions(*graph, settings.value("layer_precisions", nlohmann::json::object()));
    const auto plan = made(builder->buildSerializedNetwork(*graph, *config), "an engine");
    const char* data = static_cast<const char*>(plan->data());
    return {data, data + plan->size()};
}

std::vector<char> readKept(const std::string& file) {
    std::ifstream kept(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(kept), {}};
}

std::vector<char> buildAndKeep(const std::string& file, const Network& network) {
    const std::vector<char> engine = build(network);
    const std::string unfinished = file + ".part";
    std::ofstream stream(unfinished, std::ios::binary);
    stream.write(engine.data(), std::streamsize(engine.size()));
    stream.close();
    if (!stream || std::rename(unfinished.c_str(), file.c_str()) != 0) {
        std::remove(unfinished.c_str());
        std::cerr << "the engine could not be kept in " << file << "; it is built again next time\n";
    }
    return engine;
}

class TensorRtEngine : public Engine {
public:
    TensorRtEngine(const Contract& contract, const Network& network)
        : found_(contract.joints.size() *
                 (network.wholePose ? std::size_t(3)
                                    : std::size_t(network.heatmapHeight) * network.heatmapWidth)),
          inputBytes_(std::size_t(3) * network.height * network.width *
                      (network.wholePose ? 1 : sizeof(float))),
          input_(inputBytes_),
          output_(found_.size() * sizeof(float)) {
        runtime_ = made(nvinfer1::createInferRuntime(logger()), "a runtime");
        const std::string file = engineName(contract, network);
        std::vector<char> serialized = readKept(file);
        if (!serialized.empty()) {  // a damaged file is built again
            engine_.reset(runtime_->deserializeCudaEngine(serialized.data(), serialized.size()));
        }
        if (engine_ == nullptr) {
            serialized = buildAndKeep(file, network);
            engine_ = made(runtime_->deserializeCudaEngine(serialized.data(), serialized.size()), "an engine");
        }
        context_ = made(engine_->createExecutionContext(), "a context");
        if (!context_->setTensorAddress(network.inputName.c_str(), input_.at) ||
            !context_->setTensorAddress(network.outputName.c_str(), output_.at)) {
            throw std::runtime_error("the engine's tensors are not those that artifact.json names");
        }
    }

    std::vector<float> infer(const void* input) override {
        const std::size_t out = found_.size() * sizeof(float);
        check(cudaMemcpyAsync(input_.at, input, inputBytes_, cudaMemcpyHostToDevice, stream_.at));
        if (!context_->enqueueV3(stream_.at)) throw std::runtime_error("TensorRT could not run the engine");
        check(cudaMemcpyAsync(found_.data(), output_.at, out, cudaMemcpyDeviceToHost, stream_.at));
        check(cudaStreamSynchronize(stream_.at));
        return found_;
    }

private:
    std::vector<float> found_;
    std::size_t inputBytes_;
    Stream stream_;
    DeviceMemory input_, output_;
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    std::unique_ptr<nvinfer1::IExecutionContext> context_;
};

}  // namespace

std::unique_ptr<Engine> openEngine(const Contract& contract, const Network& network) {
    return std::make_unique<TensorRtEngine>(contract, network);
}

}  // namespace edgepose
