// Products of a warpgroup (wgmma), which read shared memory through the async proxy.
#pragma once
#include <cstdint>

#include "pyformer/cuda/emulated.h"

namespace pyformer::emulated {

// What one thread brings to d (64 x n) = a (64 x 16) b (16 x n) [+ d].
struct Wgmma {
  int n;
  bool is_float16, adds, a_mn_major, b_mn_major;
  float* d;
  const uint32_t* a_registers;  // null: a is in shared memory
  uint64_t a, b;                // descriptors
};
void wgmma(const Wgmma& mine);
void wgmma_fence();
void wgmma_commit();
void wgmma_wait(unsigned pending);

}  // namespace pyformer::emulated
