// A stand-in for TensorRT 8.5's ONNX parser: it reads a file and keeps nothing of it.
#pragma once

#include <fstream>

#include "NvInfer.h"

namespace nvonnxparser {

class IParser {
public:
    virtual ~IParser() noexcept = default;
    bool parseFromFile(const char* file, int) { return bool(std::ifstream(file)); }
};

inline IParser* createParser(nvinfer1::INetworkDefinition&, nvinfer1::ILogger& logger) {
    nvinfer1::expectTheSame(logger);
    return new IParser;
}

}  // namespace nvonnxparser
