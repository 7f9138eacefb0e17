// A column of a head's matrix in float64, for retention_ref.cpp and retention_cuda.cu: each element of S is a chain
// over the tokens,
//
//   forwards     S_ic = fma(a_i, b_c, g * S_ic)
//   backwards    S_ic = fma(a_i, b_c, S_ic), and after out S_ic = g * S_ic
//
// and each element of out, sum_i r_i S_ic, one FMA chain from +0 over i, rounded once.
#pragma once
#include "pyformer/base/math.h"
#include "pyformer/ops/retention/retention_kernels.h"

namespace pyformer::PF_ISA {

template <class T>
PF_INLINE void walk_column(const RetentionWalk& w, int64_t batch, int64_t head, int64_t c) {
  const int64_t matrix = (batch * w.heads + head) * w.rows * w.cols;
  const double g = double(static_cast<const T*>(w.decay)[head]);
  double* S = w.end + matrix + c;
  for (int64_t i = 0; i < w.rows; ++i)
    S[i * w.cols] = w.start ? w.start[matrix + i * w.start_row + c * w.start_col] : 0.0;
  for (int64_t step = 0; step < w.tokens; ++step) {
    const int64_t token = (batch * w.tokens + (w.backwards ? w.tokens - 1 - step : step)) * w.heads + head;
    const T* a = static_cast<const T*>(w.a) + token * w.rows;
    const T* r = static_cast<const T*>(w.r) + token * w.rows;
    const double b = double(static_cast<const T*>(w.b)[token * w.cols + c]);
    double sum = 0.0;
    for (int64_t i = 0; i < w.rows; ++i) {
      double& s = S[i * w.cols];
      s = fma(double(a[i]), b, w.backwards ? s : s * g);
      sum = fma(double(r[i]), s, sum);
      if (w.backwards) s = s * g;
    }
    static_cast<T*>(w.out)[token * w.cols + c] = T(sum);
  }
}

}  // namespace pyformer::PF_ISA
