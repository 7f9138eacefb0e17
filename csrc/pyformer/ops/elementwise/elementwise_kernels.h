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

// Work item of all four: one element of the output.
// nontemporal: the output goes past the caches.
struct Unary {
  const void* x;
  void* out;
  bool nontemporal = false;
};
struct UnaryGradient {
  const void* dout;
  const void* saved;  // x or out, whichever elementwise_functions.h says
  void* dx;
  bool nontemporal = false;
};
struct Binary {
  Operands<2> in;  // a, b
  void* out;
  bool nontemporal = false;
};
struct BinaryGradient {
  Operands<3> in;  // dout, which has the output's shape, a, b
  void* out;       // the gradient of one operand, before it is summed to the operand's shape
  bool nontemporal = false;
};

// Work item: a strip of kStrip columns of one matrix.
struct SumColumns {
  static constexpr int64_t kStrip = 64;
  int64_t length, inner;
  const void* x;  // (outer, length, inner)
  void* out;      // (outer, inner)
};
// Work item: one row.
struct SumRows {
  int64_t length;
  const void* x;  // (rows, length)
  void* out;      // (rows,)
};

struct ElementwiseKernels {  // each indexed [float32, float64]
  Kernel<Binary> add[2], subtract[2], multiply[2], divide[2], maximum[2], minimum[2], power[2];
  Kernel<BinaryGradient> divide_db[2], maximum_da[2], maximum_db[2], minimum_da[2], minimum_db[2], power_da[2],
      power_db[2];
  Kernel<Unary> negate[2], exp[2], log[2], sqrt[2], abs[2], sin[2], cos[2], square[2], tanh[2], sigmoid[2], relu[2],
      silu[2];
  Kernel<UnaryGradient> exp_dx[2], log_dx[2], sqrt_dx[2], abs_dx[2], sin_dx[2], cos_dx[2], square_dx[2], tanh_dx[2],
      sigmoid_dx[2], relu_dx[2], silu_dx[2];
  Kernel<SumColumns> sum_columns[2];
  Kernel<SumRows> sum_rows[2];
};
template <Isa>
const ElementwiseKernels& elementwise_kernels();  // specialised in elementwise_ref.cpp and elementwise_cpu.cpp

// Integers (wrapping) and comparisons are plain loops, the same for every instruction set.
struct IntegerKernels {  // each indexed [int64, int32]
  Kernel<Binary> add[2], subtract[2], multiply[2], floor_divide[2], maximum[2], minimum[2];
  Kernel<Unary> negate[2], abs[2], square[2];
};
const IntegerKernels& integer_kernels();

struct CompareKernels {  // each indexed by DType; null for dtypes that are storage only
  Kernel<Binary> equal[7], not_equal[7], less[7], less_equal[7];
};
const CompareKernels& compare_kernels();

}  // namespace pyformer
