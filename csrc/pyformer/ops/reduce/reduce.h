// reduce: sum, mean, max, min over any axes, argmax and argmin over one, cumsum.
//
// Axes: absent reduces all; an empty list reduces none. Reduced axes that are neighbours count as one; groups that are
// not are reduced one after another, the last group first.
// Order of sums: the row-reduction rule over the group's indices, whichever axes those are and whatever is kept beside
// them. mean divides the sum by the count once, at the end. A running sum is that of its chain, of 256 consecutive
// indices, plus the sum of the chains before, which meet in the binary tree; so is its gradient, backwards.
// max and min: NaN wins; among equal values the first one is the result and gets all of the gradient.
// argmax and argmin give its index as int64.
// Dtypes: all, but in mean only floats; integers and booleans have no gradient, their sums and cumsums are int64. Sums
// of 16-bit floats are held in float32 and rounded once. Nothing but indices is saved for backward.
#pragma once
#include <optional>
#include <vector>

#include "pyformer/core/tensor.h"

namespace pyformer {

using Axes = std::optional<std::vector<int64_t>>;

Array sum_forward(const Array& x, const Axes& axes, bool keepdims);
// The same sums of floats in the accumulator's dtype.
Array sum_wide(const Array& x, const Axes& axes, bool keepdims);

// (outer, n, inner) -> (outer, inner): sums over n, each divided by divisor; of floats in the accumulator's dtype.
Array sum_middle(const Array& x, int64_t outer, int64_t n, int64_t inner, double divisor = 1.0);

struct ExtremeResult {
  Array out, index;  // index along the axis, int64
};
ExtremeResult extreme_forward(const char* op, const Array& x, int axis, int axis_count, bool minimum);

Tensor sum(const Tensor& x, const Axes& axes, bool keepdims);
Tensor mean(const Tensor& x, const Axes& axes, bool keepdims);
Tensor max(const Tensor& x, const Axes& axes, bool keepdims);
Tensor min(const Tensor& x, const Axes& axes, bool keepdims);
Tensor argmax(const Tensor& x, std::optional<int64_t> axis, bool keepdims);
Tensor argmin(const Tensor& x, std::optional<int64_t> axis, bool keepdims);
Tensor cumsum(const Tensor& x, int64_t axis);

}  // namespace pyformer
