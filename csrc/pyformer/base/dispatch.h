// TEMPORARY: the old way to a kernel, until every op uses run.h.
#pragma once
#include <array>

#include "pyformer/base/dtype.h"
#include "pyformer/base/error.h"
#include "pyformer/base/isa.h"

namespace pyformer {
constexpr bool is_compute_float(DType d) { return d <= DType::float64; }
template <class Kernels>
using KernelSets = std::array<const Kernels*, kIsaCount>;
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
inline int float_index(const char* op, DType dtype) {
  if (!is_compute_float(dtype)) throw TypeError(cat(op, ": expected float32 or float64, got ", name(dtype)));
  return int(dtype);
}
template <class Kernels, class Args>
Kernel<Args> find_kernel(const char* op, const KernelSets<Kernels>& sets, Kernel<Args> (Kernels::* row)[2],
                         DType dtype) {
  const int index = float_index(op, dtype);
  for (int isa = int(current_isa()); isa >= 0; --isa)
    if (sets[isa] && (sets[isa]->*row)[index]) return (sets[isa]->*row)[index];
  throw TypeError(cat(op, ": no kernel for ", name(dtype), " on cpu"));
}
}  // namespace pyformer
