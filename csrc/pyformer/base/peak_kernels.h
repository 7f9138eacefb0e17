// What the kernels of peak.h see.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

// Work item: one FMA on each of kChains registers.
struct FmaChains {
  static constexpr int kChains = 12;  // two ports x four cycles need 8; with two operands 14 of AVX2's 16 registers
  double factor, summand;             // chains run x = factor * x + summand, which must stay a normal number
  void* out;                          // one element a thread: keeps the chains from being optimised away
};

// Work item: one block of kBlockBytes.
struct ReadSum {
  static constexpr int64_t kBlockBytes = 4096;
  const float* x;
  float* out;  // as above
};

// Work item: one block of kBlockBytes, written past the caches.
struct CopyBlocks {
  static constexpr int64_t kBlockBytes = 4096;
  const float* x;
  float* out;
};

struct PeakKernels {
  int64_t register_bytes;
  Kernel<FmaChains> fma_chains[2];  // indexed [float32, float64]
  Kernel<ReadSum> read_sum;
  Kernel<CopyBlocks> copy_blocks;
};
template <Isa>
const PeakKernels& peak_kernels();  // specialised per set in peak_cpu.cpp; ref's is for CPUs without AVX2

}  // namespace pyformer
