// A stand-in for TensorRT 8.5's C++ interface as far as the sample uses it: the names and signatures of its
// documentation, an "engine" that is a line of text, heatmaps whose first joint has its peak at pixel 5.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "cuda_runtime_api.h"

namespace nvinfer1 {

class ILogger {
public:
    enum class Severity : std::int32_t { kINTERNAL_ERROR = 0, kERROR = 1, kWARNING = 2, kINFO = 3, kVERBOSE = 4 };
    virtual void log(Severity severity, const char* message) noexcept = 0;

protected:
    virtual ~ILogger() = default;
};

inline void expectTheSame(ILogger& logger) {
    static ILogger* first = &logger;
    if (first != &logger) std::abort();  // the first one is written to for ever
}

enum class NetworkDefinitionCreationFlag : std::int32_t { kEXPLICIT_BATCH = 0 };
enum class MemoryPoolType : std::int32_t { kWORKSPACE = 0 };
enum class BuilderFlag : std::int32_t { kFP16 = 0, kINT8 = 1, kTF32 = 7, kOBEY_PRECISION_CONSTRAINTS = 10 };
enum class DataType : std::int32_t { kFLOAT = 0, kHALF = 1, kINT8 = 2, kINT32 = 3, kBOOL = 4, kUINT8 = 5 };

class IHostMemory {
public:
    explicit IHostMemory(std::string text) : text_(std::move(text)) {}
    virtual ~IHostMemory() noexcept = default;
    void* data() const noexcept { return const_cast<char*>(text_.data()); }
    std::size_t size() const noexcept { return text_.size(); }

private:
    std::string text_;
};

class ILayer {
public:
    explicit ILayer(const char* name) : name_(name) {}
    const char* getName() const noexcept { return name_; }
    void setPrecision(DataType type) noexcept { precision = type; }
    DataType precision = DataType::kINT8;

protected:
    virtual ~ILayer() noexcept = default;

private:
    const char* name_;
};

struct Layer : ILayer {
    using ILayer::ILayer;
};

class INetworkDefinition {
public:
    virtual ~INetworkDefinition() noexcept = default;
    std::int32_t getNbLayers() const noexcept { return 2; }
    ILayer* getLayer(std::int32_t index) const noexcept { return &layers_[index]; }

private:
    mutable Layer layers_[2] = {Layer("conv1"), Layer("whole_pose.mul_1")};
};

class IBuilderConfig {
public:
    virtual ~IBuilderConfig() noexcept = default;
    void setFlag(BuilderFlag flag) noexcept { flags |= 1U << std::uint32_t(flag); }
    void clearFlag(BuilderFlag flag) noexcept { flags &= ~(1U << std::uint32_t(flag)); }
    void setMemoryPoolLimit(MemoryPoolType, std::size_t bytes) noexcept { workspace = bytes; }
    std::uint32_t flags = 1U << 7;
    std::size_t workspace = 0;
};

class IBuilder {
public:
    virtual ~IBuilder() noexcept = default;
    INetworkDefinition* createNetworkV2(std::uint32_t flags) noexcept {
        return flags == 1 ? new INetworkDefinition : nullptr;
    }
    IBuilderConfig* createBuilderConfig() noexcept { return new IBuilderConfig; }
    IHostMemory* buildSerializedNetwork(INetworkDefinition& network, IBuilderConfig& config) noexcept {
        std::string held;
        for (std::int32_t i = 0; i < network.getNbLayers(); ++i) {
            const ILayer* layer = network.getLayer(i);
            if (layer->precision == DataType::kFLOAT) held += std::string(", exact ") + layer->getName();
        }
        return new IHostMemory("engine, flags " + std::to_string(config.flags) + ", workspace " +
                               std::to_string(config.workspace >> 20) + held);
    }
};

class IExecutionContext {
public:
    virtual ~IExecutionContext() noexcept = default;
    bool setTensorAddress(const char* name, void* at) noexcept {
        at_[name] = at;
        return true;
    }
    bool enqueueV3(cudaStream_t) noexcept {
        static_cast<float*>(at_["heatmaps"])[5] = 1.0F;
        return static_cast<const float*>(at_["image"]) != nullptr;
    }

private:
    std::map<std::string, void*> at_;
};

class ICudaEngine {
public:
    virtual ~ICudaEngine() noexcept = default;
    IExecutionContext* createExecutionContext() noexcept { return new IExecutionContext; }
};

class IRuntime {
public:
    virtual ~IRuntime() noexcept = default;
    ICudaEngine* deserializeCudaEngine(const void* data, std::size_t bytes) noexcept {
        const std::string text(static_cast<const char*>(data), bytes);
        return text.rfind("engine, ", 0) == 0 ? new ICudaEngine : nullptr;
    }
};

inline IBuilder* createInferBuilder(ILogger& logger) noexcept {
    expectTheSame(logger);
    return new IBuilder;
}
inline IRuntime* createInferRuntime(ILogger& logger) noexcept {
    expectTheSame(logger);
    return new IRuntime;
}

}  // namespace nvinfer1

inline std::int32_t getInferLibVersion() noexcept { return 8502; }
