// bspline: the formulas of bspline_rows.h with a thread for each element of x. Orders are constants, so that bases stay
// in registers.
#include "pyformer/cuda/kernel.h"
#include "pyformer/ops/bspline/bspline_rows.h"

namespace pyformer::cuda {

// use.operator()<order>(), for orders 1 ... kMaxSplineOrder.
template <int least = 1, class Use>
DEVICE void with_order(int64_t order, const Use& use) {
  if (least == kMaxSplineOrder || order == least)
    use.template operator()<least>();
  else if constexpr (least < kMaxSplineOrder)
    with_order<least + 1>(order, use);
}

// spline_bases, in which no index is left: an array that is indexed would lie in local memory.
template <int degree, class A>
DEVICE void unrolled_bases(A u, A* bases) {
  bases[0] = A(1);
#pragma unroll
  for (int d = 1; d <= degree; ++d)
#pragma unroll
    for (int r = d; r >= 0; --r) bases[r] = spline_basis(u, d, r, bases);
}

template <class T>
struct BsplineElement {
  using Args = BsplineForward;
  static DEVICE void at(const Args& a, int64_t i) {
    using A = Accumulator<T>;
    const A value = in<T>(a.x)[i];
    const SplineCells<A> s(value, a.low, a.per_width);
    const BasisRange<A> range(s.cell, a.intervals, a.order);
    const int64_t count = a.intervals + a.order;
    const auto row = to<T>(a.out) + i * count;
    for (int64_t j = 0; j < count; ++j) row[j] = value == value ? A(0) : value;  // NaN stays NaN
    with_order(a.order, [&]<int order>() {
      A bases[order + 1];
      unrolled_bases<order>(s.rest, bases);
#pragma unroll
      for (int r = 0; r <= order; ++r)
        if (r >= range.begin && r < range.end) row[range.cell + r] = bases[r];
    });
  }
};

template <class T>
struct BsplineGradientElement {
  using Args = BsplineBackward;
  static DEVICE void at(const Args& a, int64_t i) {
    using A = Accumulator<T>;
    const SplineCells<A> s(in<T>(a.x)[i], a.low, a.per_width);
    const BasisRange<A> range(s.cell, a.intervals, a.order);
    const auto row = in<T>(a.dout) + i * (a.intervals + a.order);
    with_order(a.order, [&]<int order>() {
      A bases[order], sum = 0;
      unrolled_bases<order - 1>(s.rest, bases);
#pragma unroll
      for (int r = 0; r <= order; ++r) {
        const A dout = r >= range.begin && r < range.end ? A(row[range.cell + r]) : A(0);
        sum = fma(dout, (r > 0 ? bases[r - 1] : A(0)) - (r < order ? bases[r] : A(0)), sum);
      }
      to<T>(a.dx)[i] = sum * A(a.per_width);
    });
  }
};

template <>
const BsplineTable& cuda_table<BsplineTable>() {
  static constexpr BsplineTable table = {
      for_each_float<Kernel<BsplineForward>>(
          []<class T>() -> Kernel<BsplineForward> { return each_item<BsplineElement<T>>; }),
      for_each_float<Kernel<BsplineBackward>>(
          []<class T>() -> Kernel<BsplineBackward> { return each_item<BsplineGradientElement<T>>; })};
  return table;
}

}  // namespace pyformer::cuda
