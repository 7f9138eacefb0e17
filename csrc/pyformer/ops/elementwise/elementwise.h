// elementwise: arithmetic, functions, comparisons and selection, an element at a time, broadcast as NumPy does.
//
//   add subtract multiply divide maximum minimum power     out = f(a, b), shape broadcast(a, b)
//   floor_divide                                           integers, rounded down; no gradient
//   negate exp log sqrt abs sin cos square tanh sigmoid relu silu     out = f(x)
//   equal not_equal less less_equal greater greater_equal  bool; logical_and logical_or logical_not on bool
//   where                                                  out = cond ? a : b, all three broadcast
//
// Both operands have one dtype: nothing is promoted. Floats everywhere but in floor_divide and logic; integers, which
// wrap around, in add, subtract, multiply, floor_divide, maximum, minimum, negate, abs, square and comparisons;
// comparisons also take bool, where takes every dtype. Of two bools, add and maximum are logical_or, multiply and
// minimum logical_and. NaN in an operand of maximum or minimum gives NaN. relu(NaN) is
// NaN.
//
// Gradients: multiply saves the operand that the other's gradient needs; divide, maximum, minimum and power save both;
// exp, sqrt, tanh, sigmoid and relu save out; log, abs, sin, cos, square and silu save x (of 16-bit floats, whose out
// is rounded, all of these save x). A gradient of 0 stays 0 whatever the slope, also an infinite or NaN one. abs has
// gradient 0 at 0; equal operands of maximum and minimum get half each; power has da = 0 where b = 0 and db = 0 where a
// = 0, b >= 0.
//
// The gradient of a broadcast operand is a sum over the axes it was broadcast along (sum_to). Neighbouring such axes
// count as one; the last are summed first, as reduce does. Axes that the operand lacks are summed, those that have
// extent 1 in the operand and in the output are not.
#pragma once
#include "pyformer/core/tensor.h"

namespace pyformer {

Array add_forward(const Array& a, const Array& b);
Array subtract_forward(const Array& a, const Array& b);
Array multiply_forward(const Array& a, const Array& b);
Array divide_forward(const Array& a, const Array& b);
Array floor_divide_forward(const Array& a, const Array& b);  // ValueError where b holds a 0
Array maximum_forward(const Array& a, const Array& b);
Array minimum_forward(const Array& a, const Array& b);
Array power_forward(const Array& a, const Array& b);

Array negate_forward(const Array& x);
Array exp_forward(const Array& x);
Array log_forward(const Array& x);
Array sqrt_forward(const Array& x);
Array abs_forward(const Array& x);
Array sin_forward(const Array& x);
Array cos_forward(const Array& x);
Array square_forward(const Array& x);
Array tanh_forward(const Array& x);
Array sigmoid_forward(const Array& x);
Array relu_forward(const Array& x);
Array silu_forward(const Array& x);

Array where_forward(const Array& cond, const Array& a, const Array& b);

// Floats x summed, in their accumulator, to a shape that broadcasts to theirs; x itself if the shapes are equal.
Array sum_to(const Array& x, const Shape& shape);

Tensor add(const Tensor& a, const Tensor& b);
Tensor subtract(const Tensor& a, const Tensor& b);
Tensor multiply(const Tensor& a, const Tensor& b);
Tensor divide(const Tensor& a, const Tensor& b);
Tensor floor_divide(const Tensor& a, const Tensor& b);
Tensor maximum(const Tensor& a, const Tensor& b);
Tensor minimum(const Tensor& a, const Tensor& b);
Tensor power(const Tensor& a, const Tensor& b);

Tensor negate(const Tensor& x);
Tensor exp(const Tensor& x);
Tensor log(const Tensor& x);
Tensor sqrt(const Tensor& x);
Tensor abs(const Tensor& x);
Tensor sin(const Tensor& x);
Tensor cos(const Tensor& x);
Tensor square(const Tensor& x);
Tensor tanh(const Tensor& x);
Tensor sigmoid(const Tensor& x);
Tensor relu(const Tensor& x);
Tensor silu(const Tensor& x);

Tensor equal(const Tensor& a, const Tensor& b);
Tensor not_equal(const Tensor& a, const Tensor& b);
Tensor less(const Tensor& a, const Tensor& b);
Tensor less_equal(const Tensor& a, const Tensor& b);
Tensor greater(const Tensor& a, const Tensor& b);
Tensor greater_equal(const Tensor& a, const Tensor& b);
Tensor logical_and(const Tensor& a, const Tensor& b);
Tensor logical_or(const Tensor& a, const Tensor& b);
Tensor logical_not(const Tensor& x);

Tensor where(const Tensor& cond, const Tensor& a, const Tensor& b);

}  // namespace pyformer
