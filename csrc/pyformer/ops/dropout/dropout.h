// dropout: each element is 0 with probability p and x / (1 - p) otherwise (Srivastava et al. 2014, inverted scaling).
//
//   out = word(seed, stream, i) >= p * 2^32 ? x * scale : 0,   scale = 1 / (1 - p)
//
// x (...), of any float dtype; 0 <= p < 1. Element i is kept or dropped by word i of a Philox stream of its own
// (philox.h), so the mask depends on neither threads nor dtype, and backward draws it again from (seed, stream):
// nothing of the input's size is saved. p = 0 gives x itself and draws no stream.
#pragma once
#include "pyformer/core/random.h"
#include "pyformer/core/tensor.h"

namespace pyformer {

// Also the backward, with dout as x.
Array dropout_forward(const Array& x, double p, RandomStream stream);

Tensor dropout(const Tensor& x, double p);

}  // namespace pyformer
