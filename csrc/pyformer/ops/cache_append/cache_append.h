// cache_append: writes new keys or values into a decoding cache, in place; no gradient.
//
//   cache[b, positions[b] + t] = fresh[b, t]     cache (B, Tmax, H, D), fresh (B, T, H, D), positions (B,)
//
// Everything is checked before the first write. Moves only: no vector kernels.
#pragma once
#include "pyformer/core/tensor.h"

namespace pyformer {

void cache_append_(const Tensor& cache, const Tensor& fresh, const Tensor& positions);

}  // namespace pyformer
