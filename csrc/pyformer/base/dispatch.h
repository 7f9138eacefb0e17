// From an op's per-set kernel tables to the one kernel to run.
//
//   static const auto sets = kernel_sets<LayerNormKernels>([]<Isa isa>() { return &layer_norm_kernels<isa>(); });
//   const auto kernel = find_kernel("layer_norm", sets, &LayerNormKernels::forward, x.dtype());
//   parallel_for(rows, grain, [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
#pragma once
#include <array>

#include "pyformer/base/dtype.h"
#include "pyformer/base/error.h"
#include "pyformer/base/isa.h"

namespace pyformer {

template <class Kernels>
using KernelSets = std::array<const Kernels*, kIsaCount>;  // indexed by Isa; null where not built

// get<isa>() returns the address of that set's table.
template <class Kernels, class Get>
KernelSets<Kernels> kernel_sets(const Get& get) {
  return {
      get.template operator()<Isa::ref>(),
      get.template operator()<Isa::portable>(),
#if defined(PF_BUILT_X86)
      get.template operator()<Isa::avx2>(),
      get.template operator()<Isa::avx512>(),
#endif
  };
}

// 0 for float32, 1 for float64: the index into a kernel row.
inline int float_index(const char* op, DType dtype) {
  if (!is_compute_float(dtype)) throw TypeError(cat(op, ": expected float32 or float64, got ", name(dtype)));
  return int(dtype);
}

// The kernel of the best set at or below the current one that has it.
template <class Kernels, class Args>
Kernel<Args> find_kernel(const char* op, const KernelSets<Kernels>& sets, Kernel<Args> (Kernels::*row)[2],
                         DType dtype) {
  const int index = float_index(op, dtype);
  for (int isa = int(current_isa()); isa >= 0; --isa)
    if (sets[isa] && (sets[isa]->*row)[index]) return (sets[isa]->*row)[index];
  throw TypeError(cat(op, ": no kernel for ", name(dtype), " on cpu"));
}

}  // namespace pyformer
