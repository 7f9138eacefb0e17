// What elementwise kernels see: operands broadcast against a contiguous output.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

// How N operands are read to fill a contiguous output. The output's axes are merged as far as every operand allows:
// a row of `inner` elements, along which an operand steps by one element or stays (steps), and `ndim` axes around it,
// innermost first. Same shapes and a scalar operand are a single row; a bias (C,) against (..., C) is one axis of rows.
template <int N>
struct Operands {
  static constexpr int kMaxDims = 8;
  const void* data[N];
  int64_t inner;
  int ndim;
  bool steps[N];
  int64_t dims[kMaxDims];
  int64_t strides[N][kMaxDims];  // in elements
};

// Calls row(at, i, n) for output elements i .. i + n, which lie in one row; operand k starts at its element at[k].
template <int N, class Row>
static inline __attribute__((always_inline)) void walk_rows(const Operands<N>& in, int64_t begin, int64_t end,
                                                            const Row& row) {
  int64_t at[N] = {}, index[Operands<N>::kMaxDims];
  int64_t column = begin;
  if (in.ndim > 0) {
    column = begin % in.inner;
    int64_t rest = begin / in.inner;
    for (int d = 0; d < in.ndim; ++d) {
      index[d] = rest % in.dims[d];
      rest /= in.dims[d];
      for (int k = 0; k < N; ++k) at[k] += index[d] * in.strides[k][d];
    }
  }
  for (int64_t i = begin; i < end;) {
    const int64_t n = in.inner - column < end - i ? in.inner - column : end - i;
    int64_t start[N];
    for (int k = 0; k < N; ++k) start[k] = at[k] + (in.steps[k] ? column : 0);
    row(start, i, n);
    i += n;
    column = 0;
    for (int d = 0; d < in.ndim; ++d) {
      for (int k = 0; k < N; ++k) at[k] += in.strides[k][d];
      if (++index[d] < in.dims[d]) break;
      for (int k = 0; k < N; ++k) at[k] -= in.strides[k][d] * in.dims[d];
      index[d] = 0;
    }
  }
}

constexpr int64_t kElementwiseGrain = int64_t(1) << 14;

// Work item of these five: one element of the output.
// nontemporal: the output goes past the caches.
struct Unary {
  int64_t size;
  const void* x;
  void* out;
  bool nontemporal;
  int64_t items() const { return size; }
  int64_t grain() const { return kElementwiseGrain; }
};
struct UnaryGradient {
  int64_t size;
  const void* dout;
  const void* saved;  // x or out, whichever elementwise_functions.h says; of 16-bit floats, whose out is rounded, x
  void* dx;
  bool nontemporal;
  int64_t items() const { return size; }
  int64_t grain() const { return kElementwiseGrain; }
};
struct Binary {
  int64_t size;
  Operands<2> in;  // a, b
  void* out;
  bool wide;  // out is in the accumulator's dtype: it is a gradient that is summed next
  bool nontemporal;
  int64_t items() const { return size; }
  int64_t grain() const { return kElementwiseGrain; }
};
struct BinaryGradient {
  int64_t size;
  Operands<3> in;  // dout, which has the output's shape, a, b
  void* out;       // the gradient of one operand, before it is summed to the operand's shape
  bool wide;       // out is in the accumulator's dtype
  bool nontemporal;
  int64_t items() const { return size; }
  int64_t grain() const { return kElementwiseGrain; }
};
struct Select {
  int64_t size;
  Operands<3> in;  // cond (bool), a, b
  void* out;
  int64_t items() const { return size; }
  int64_t grain() const { return kElementwiseGrain; }
};

// The one work item: all integers.
struct FindZero {
  int64_t size;
  const void* x;
  int64_t* found;  // 1 if one of them is 0, else 0
  int64_t items() const { return 1; }
  int64_t grain() const { return 1; }
};

// Integers (wrapping), bool and comparisons are plain loops, in the reference alone.
struct ElementwiseTable {
  static constexpr const char* name = "elementwise";
  PerDtype<Kernel<Binary>> add, subtract, multiply, divide, maximum, minimum, power;
  PerDtype<Kernel<Binary>> multiply_gradient, divide_gradient;  // of dout and the other operand
  PerDtype<Kernel<BinaryGradient>> divide_db, maximum_da, maximum_db, minimum_da, minimum_db, power_da, power_db;
  PerDtype<Kernel<Unary>> negate, exp, log, sqrt, abs, sin, cos, square, tanh, sigmoid, relu, silu;
  PerDtype<Kernel<UnaryGradient>> exp_dx, log_dx, sqrt_dx, abs_dx, sin_dx, cos_dx, square_dx, tanh_dx, sigmoid_dx,
      relu_dx, silu_dx;
  PerDtype<Kernel<Binary>> floor_divide;
  PerDtype<Kernel<FindZero>> find_zero;
  PerDtype<Kernel<Binary>> equal, not_equal, less, less_equal;  // out: bool
  PerDtype<Kernel<Binary>> logical_and, logical_or;
  PerDtype<Kernel<Unary>> logical_not;
  PerDtype<Kernel<Select>> where;
};

}  // namespace pyformer
