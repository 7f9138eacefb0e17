// global_norm: sqrt of the sum of squares of all elements of all tensors, as for clipping gradients
// (Pascanu et al. 2013, algorithm 1).
//
// Any float dtype; the result is a number on the tensors' device, (), float64: nothing waits for it. Order of sums:
// blocks of 4,096 elements of each tensor by sixteen lanes of FMAs in the tensor's dtype (float32 for 16 bits), then
// all block sums one after another in double. Where squares overflow or vanish, sums are taken in units of a power of
// two: the norm is right wherever a double holds it. No gradient.
#pragma once
#include "pyformer/core/tensor.h"

namespace pyformer {

Array global_norm(const std::vector<Tensor>& tensors);

// Scales the gradients of the tensors in place so that their norm is at most max_norm, and returns the norm before;
// tensors without one are passed over. A norm that is not finite changes nothing.
Array clip_gradients_(const std::vector<Tensor>& tensors, double max_norm);

}  // namespace pyformer
