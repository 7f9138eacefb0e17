// rope: rotary position embedding (Su et al. 2021, eq. 34). x (B, T, H, D), of any float dtype.
//
// Pair i of a head's elements, (i, i + R) or interleaved (2 i, 2 i + 1), is turned by the angle position *
// frequencies[i]. frequencies (R,) of a float dtype with 2 R <= D: elements from 2 R on pass through unchanged.
// positions (T,) or (B, T), int64 or int32. Angles, cosines and sines are float64, rounded to x's type at the end.
// Saved for backward: nothing of x; the gradient turns back. An element depends on its pair, position and frequency
// only. positions and frequencies have no gradient.
#pragma once
#include "pyformer/core/tensor.h"

namespace pyformer {

Array rope_forward(const Array& x, const Array& positions, const Array& frequencies, bool interleaved);
Array rope_backward(const Array& dout, const Array& positions, const Array& frequencies, bool interleaved);

Tensor rope(const Tensor& x, const Tensor& positions, const Tensor& frequencies, bool interleaved);

}  // namespace pyformer
