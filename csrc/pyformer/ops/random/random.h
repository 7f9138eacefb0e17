// random: arrays of random numbers by counter (Philox4x32-10; Salmon et al. 2011). Element i depends on the seed, the
// stream and i only; philox.h says how. 16-bit numbers are float32's, rounded, those of rand to below 1; no gradient.
//
//   rand   uniform on [0, 1)
//   randn  normal, mean 0 and variance 1 (Box, Muller 1958)
#pragma once
#include "pyformer/core/array.h"
#include "pyformer/core/random.h"

namespace pyformer {

Array rand(const Shape& shape, DType dtype, Device device, RandomStream stream);
Array randn(const Shape& shape, DType dtype, Device device, RandomStream stream);

}  // namespace pyformer
