// The instructions by which a GPU converts between floats, as base/dtype.h declares them. Elsewhere, under emulation
// too, the formulas of that header are their meaning.
#pragma once
#include "pyformer/base/dtype.h"

#if defined(__CUDA_ARCH__)
namespace pyformer::cuda {

__device__ __forceinline__ uint16_t bfloat16_bits(float x) {
  uint16_t bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
}
__device__ __forceinline__ uint16_t float16_bits(float x) {
  uint16_t bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
}
__device__ __forceinline__ float float16_value(uint16_t bits) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
  return x;
}

}  // namespace pyformer::cuda
#endif
