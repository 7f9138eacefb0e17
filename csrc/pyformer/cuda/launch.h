// Starting a kernel: launch(kernel, grid, block, shared_bytes, stream, args).
//
//   launch(layer_norm<float>, rows, 128, sizeof(Shared), stream, a);
//
// The kernel takes `args`, one plain structure, by value; blocks have up to 227 KiB of shared memory. It runs when all
// that was queued on the stream before has been done. CudaError if the launch is refused.
//
// Emulated, `emulated::submit` decides when it runs; unless somebody sets it, at once.
#pragma once
#include <stdexcept>
#include <string>

#include "pyformer/cuda/language.h"

#if defined(__CUDACC__)
#include <cuda_runtime_api.h>
#else
using cudaStream_t = struct CUstream_st*;
#endif

namespace pyformer::cuda {

// Whether kernels for sm_90a are in this build.
#if defined(PF_SM90)
constexpr bool kBuiltForSm90 = true;
#else
constexpr bool kBuiltForSm90 = false;
#endif

struct CudaError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

#if defined(__CUDACC__)
inline void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw CudaError(std::string(what) + ": " + cudaGetErrorString(error));
}

// Of the calling thread's device.
inline int attribute_of_device(cudaDeviceAttr attribute) {
  int device = 0, value = 0;
  check(cudaGetDevice(&device), "the device");
  check(cudaDeviceGetAttribute(&value, attribute, device), "an attribute of a device");
  return value;
}
inline int multiprocessors() { return attribute_of_device(cudaDevAttrMultiProcessorCount); }
inline bool has_wgmma() { return attribute_of_device(cudaDevAttrComputeCapabilityMajor) == 9; }
// That a block may have.
inline unsigned most_shared_bytes() { return unsigned(attribute_of_device(cudaDevAttrMaxSharedMemoryPerBlockOptin)); }

template <class Args>
void launch(void (*kernel)(Args), dim3 grid, dim3 block, unsigned shared_bytes, cudaStream_t stream, const Args& args) {
  constexpr unsigned kWithoutAsking = 48 << 10;
  if (shared_bytes > kWithoutAsking)
    check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                               int(shared_bytes)),
          "shared memory of a kernel");
  kernel<<<grid, block, shared_bytes, stream>>>(args);
  check(cudaGetLastError(), "launch of a kernel");
}

#else

inline int multiprocessors() { return emulated::kMultiprocessors; }
inline bool has_wgmma() { return emulated::settings.has_wgmma; }
inline unsigned most_shared_bytes() { return emulated::settings.shared_bytes; }

template <class Args>
void launch(void (*kernel)(Args), dim3 grid, dim3 block, unsigned shared_bytes, cudaStream_t stream, const Args& args) {
  emulated::submit(stream, [=] {
    emulated::run({grid, block, shared_bytes, [=] { kernel(args); }, reinterpret_cast<const void*>(kernel)});
  });
}
#endif

}  // namespace pyformer::cuda
