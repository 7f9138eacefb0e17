// bspline: values of the B-spline basis of degree `order` on a uniform grid (de Boor 1972; the learnable functions of
// Kolmogorov-Arnold networks, Liu et al. 2024, arXiv 2404.19756, section 2.2).
//
// [low, high] is cut into `intervals` cells of width w and the knots go on for `order` cells on both sides, which
// gives intervals + order bases; basis j lives on [low + (j - order) w, low + (j + 1) w). With cell c = floor((x -
// low) / w) and u the rest, only bases c ... c + order are not 0, and by the recursion of Cox and de Boor
//
//   N[0, 0] = 1,   N[d, r] = ((u + d - r) N[d - 1, r - 1] + (r + 1 - u) N[d - 1, r]) / d,   basis c + r = N[order, r]
//   d(basis c + r)/dx = (N[order - 1, r - 1] - N[order - 1, r]) / w
//
// x (..., n), out (..., n, intervals + order). Within [low, high) the bases add up to 1; far outside all are 0.
// Saved for backward: x. dx is one FMA chain over r.
#pragma once
#include "pyformer/core/tensor.h"

namespace pyformer {

struct SplineGrid {
  double low, high;
  int64_t intervals, order;
};

Array bspline_forward(const Array& x, const SplineGrid& grid);
Array bspline_backward(const Array& dout, const Array& x, const SplineGrid& grid);

Tensor bspline(const Tensor& x, const SplineGrid& grid);

}  // namespace pyformer
