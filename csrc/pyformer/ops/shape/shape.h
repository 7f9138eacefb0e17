// shape: operations that move elements and compute nothing, for every dtype: strided copies (core/arithmetic).
//
// reshape shares its operand's memory; all others copy, since arrays are always row-major. The gradient of each
// moves elements the other way: gradients of an element that was copied more than once (expand) are summed, that of an
// element that was not copied (slice) is zero.
#pragma once
#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/core/tensor.h"

namespace pyformer {

// One axis of a slice: elements start, start + step, ... (count of them).
struct SliceRange {
  int64_t start, step, count;
};

Array transpose_forward(const Array& x, const std::vector<int>& axes);
Array slice_forward(const Array& x, const std::vector<SliceRange>& ranges);
// Writes values, of the slice's shape, into x in place.
void slice_assign_(const Array& x, const std::vector<SliceRange>& ranges, const Array& values);
// The same of a region of x's dtype on x's device, which must not overlap x; a stride of 0 repeats values.
void slice_assign_(const Array& x, const std::vector<SliceRange>& ranges, const Region& values);
Array concat_forward(const std::vector<Array>& xs, int axis);

// -1 in at most one place of shape is worked out from the size.
Tensor reshape(const Tensor& x, const std::vector<int64_t>& shape);
// out axis i is x's axis axes[i]; empty axes reverse all.
Tensor transpose(const Tensor& x, const std::vector<int64_t>& axes);
// One range an axis.
Tensor slice(const Tensor& x, const std::vector<SliceRange>& ranges);
Tensor concat(const std::vector<Tensor>& xs, int64_t axis);
Tensor stack(const std::vector<Tensor>& xs, int64_t axis);
// Parts of the given sizes along axis; ValueError unless they add up.
std::vector<Tensor> split(const Tensor& x, const std::vector<int64_t>& sizes, int64_t axis);
// (before, after) elements of zero for each axis.
Tensor pad(const Tensor& x, const std::vector<std::pair<int64_t, int64_t>>& widths);

}  // namespace pyformer
