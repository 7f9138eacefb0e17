// cache_append: writes new keys or values into a decoding cache, in place; no gradient.
//
//   cache[b, positions[b] + t] = fresh[b, t]     cache (B, Tmax, H, D), fresh (B, T, H, D), positions (B,)
//
// A bfloat16 cache rounds float32 elements, as attention in mixed precision would. Everything is checked before the
// first write. Moves only: no vector kernels.
#pragma once
#include "pyformer/core/tensor.h"

namespace pyformer {

void cache_append_(const Tensor& cache, const Tensor& fresh, const Tensor& positions);

}  // namespace pyformer
