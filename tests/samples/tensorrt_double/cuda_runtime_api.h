// A stand-in for the few calls of the CUDA runtime that the C++ sample makes, with their signatures.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>

enum cudaError_t { cudaSuccess = 0, cudaErrorMemoryAllocation = 2 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2 };
using cudaStream_t = struct CUstream_st*;

struct cudaDeviceProp {
    char name[256];
    int major, minor, multiProcessorCount;
};

inline const char* cudaGetErrorString(cudaError_t) { return "out of memory"; }
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* device, int) {
    const char* count = std::getenv("MULTIPROCESSORS");
    std::strcpy(device->name, "Xavier");
    device->major = 7, device->minor = 2, device->multiProcessorCount = count ? std::atoi(count) : 8;
    return cudaSuccess;
}
inline cudaError_t cudaMalloc(void** at, std::size_t bytes) {
    *at = std::malloc(bytes);
    return *at ? cudaSuccess : cudaErrorMemoryAllocation;
}
inline cudaError_t cudaFree(void* at) {
    std::free(at);
    return cudaSuccess;
}
inline cudaError_t cudaStreamCreate(cudaStream_t* stream) {
    *stream = reinterpret_cast<cudaStream_t>(std::malloc(1));
    return cudaSuccess;
}
inline cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    std::free(stream);
    return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t) {
    std::memcpy(to, from, bytes);
    return cudaSuccess;
}
