// bspline's kernels over V, a scalar for bspline_ref.cpp and a register of neighbouring x for bspline_cpu.cpp.
#pragma once
#include "pyformer/base/strips.h"
#include "pyformer/ops/bspline/bspline_kernels.h"

namespace pyformer::PF_ISA {

template <Real V>
struct SplineCells {
  V cell, rest;
  PF_INLINE SplineCells(V x, double low, double per_width) {
    using T = Element<V>;
    const V s = (x - splat<V>(T(low))) * splat<V>(T(per_width));
    const V nearest = round_to_int(s);
    cell = select(nearest > s, nearest - splat<V>(1), nearest);
    rest = select(cell == s, splat<V>(0), s - cell);  // no infinity - infinity
  }
};

// N[degree, r] at u, from those of the degree before, which it may replace if the highest r comes first.
template <Real V>
PF_INLINE V spline_basis(V u, int64_t degree, int64_t r, const V* bases) {
  using T = Element<V>;
  const V zero = splat<V>(0), share = splat<V>(T(1) / T(degree));
  const V left = r > 0 ? bases[r - 1] : zero, right = r < degree ? bases[r] : zero;
  return fma(u + splat<V>(T(degree - r)), left, (splat<V>(T(r + 1)) - u) * right) * share;
}

// N[degree, 0 ... degree] at u.
template <Real V>
PF_INLINE void spline_bases(V u, int64_t degree, V* bases) {
  bases[0] = splat<V>(1);
  for (int64_t d = 1; d <= degree; ++d)
    for (int64_t r = d; r >= 0; --r) bases[r] = spline_basis(u, d, r, bases);
}

// Of the bases cell ... cell + order those that exist: r in [begin, end), none for NaN.
template <class T>
struct BasisRange {
  int64_t cell = 0, begin = 0, end = 0;
  PF_INLINE BasisRange(T value, int64_t intervals, int64_t order) {
    if (!(value >= T(-order) && value < T(intervals + order))) return;
    cell = int64_t(value);
    const int64_t bases = intervals + order;
    begin = cell < 0 ? -cell : 0;
    end = cell + order < bases ? order + 1 : bases - cell;
  }
};

// T is what is read and written, V what is computed with.
template <class T, Real V>
static void bspline_forward_rows(const BsplineForward& a, int64_t begin, int64_t end) {
  using A = Element<V>;
  const auto x = in<T>(a.x);
  const auto out = to<T>(a.out);
  const int64_t count = a.intervals + a.order;
  for_each_strip<V>(begin, end, [&](int64_t i, int64_t n) {
    const V at = load_strip<V>(x + i, n);
    const SplineCells<V> s(at, a.low, a.per_width);
    V bases[kMaxSplineOrder + 1];
    spline_bases(s.rest, a.order, bases);
    A cells[kStrip<V>], values[kMaxSplineOrder + 1][kStrip<V>];
    store_strip(s.cell, cells, kStrip<V>);
    for (int64_t r = 0; r <= a.order; ++r) store_strip(bases[r], values[r], kStrip<V>);
    for (int64_t lane = 0; lane < n; ++lane) {
      const auto row = out + (i + lane) * count;
      const A value = x[i + lane], fill = value == value ? A(0) : value;  // NaN stays NaN
      for (int64_t j = 0; j < count; ++j) row[j] = fill;
      const BasisRange<A> range(cells[lane], a.intervals, a.order);
      for (int64_t r = range.begin; r < range.end; ++r) row[range.cell + r] = values[r][lane];
    }
  });
}

// dx = sum_r dout[c + r] (N[order - 1, r - 1] - N[order - 1, r]) / w
template <class T, Real V>
static void bspline_backward_rows(const BsplineBackward& a, int64_t begin, int64_t end) {
  using A = Element<V>;
  const auto x = in<T>(a.x), dout = in<T>(a.dout);
  const auto dx = to<T>(a.dx);
  const int64_t count = a.intervals + a.order;
  const V zero = splat<V>(0);
  for_each_strip<V>(begin, end, [&](int64_t i, int64_t n) {
    const SplineCells<V> s(load_strip<V>(x + i, n), a.low, a.per_width);
    V bases[kMaxSplineOrder + 1];
    spline_bases(s.rest, a.order - 1, bases);
    A cells[kStrip<V>], gathered[kMaxSplineOrder + 1][kStrip<V>] = {};
    store_strip(s.cell, cells, kStrip<V>);
    for (int64_t lane = 0; lane < n; ++lane) {
      const BasisRange<A> range(cells[lane], a.intervals, a.order);
      const auto row = dout + (i + lane) * count;
      for (int64_t r = range.begin; r < range.end; ++r) gathered[r][lane] = row[range.cell + r];
    }
    V sum = zero;
    for (int64_t r = 0; r <= a.order; ++r) {
      const V slope = (r > 0 ? bases[r - 1] : zero) - (r < a.order ? bases[r] : zero);
      sum = fma(load_strip<V>(gathered[r], kStrip<V>), slope, sum);
    }
    store_strip(sum * splat<V>(A(a.per_width)), dx + i, n);
  });
}

}  // namespace pyformer::PF_ISA
