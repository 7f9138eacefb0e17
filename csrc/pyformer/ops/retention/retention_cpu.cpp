// retention, vector code for one instruction set: columns of S along the registers, and four tokens each time that S is
// read. Order of sums: retention_column.h.
#include "pyformer/base/vec.h"
#include "pyformer/ops/retention/retention_kernels.h"

namespace pyformer::PF_ISA {

using V = Vec<double>;

// How many registers of columns are taken together: as many as leave room for those of four tokens.
#if defined(__AVX512F__)
constexpr int kTogether = 2;
#else
constexpr int kTogether = 1;
#endif
constexpr int64_t kStripColumns = kTogether * V::width;

// Tokens of a strip of columns, as numbers of float64; in the walk's order.
template <int tokens>
struct Steps {
  double *a, *r;  // (tokens, rows)
  double b[tokens][kStripColumns], out[tokens][kStripColumns];
};

// S (rows, kStripColumns) takes the tokens in, and each reads it.
template <int tokens, bool backwards>
static void take(Steps<tokens>& s, double decay, int64_t rows, double* S) {
  const V g = V::broadcast(decay);
  V column[tokens][kTogether], sum[tokens][kTogether];
#pragma GCC unroll 8
  for (int t = 0; t < tokens; ++t)
#pragma GCC unroll 8
    for (int n = 0; n < kTogether; ++n) {
      column[t][n] = V::load(s.b[t] + n * V::width);
      sum[t][n] = V::zero();
    }
  for (int64_t i = 0; i < rows; ++i) {
    V state[kTogether];
#pragma GCC unroll 8
    for (int n = 0; n < kTogether; ++n) state[n] = V::load(S + i * kStripColumns + n * V::width);
#pragma GCC unroll 8
    for (int t = 0; t < tokens; ++t) {
      const V row = V::broadcast(s.a[t * rows + i]), reader = V::broadcast(s.r[t * rows + i]);
#pragma GCC unroll 8
      for (int n = 0; n < kTogether; ++n) {
        state[n] = fma(row, column[t][n], backwards ? state[n] : state[n] * g);
        sum[t][n] = fma(reader, state[n], sum[t][n]);
        if (backwards) state[n] = state[n] * g;
      }
    }
#pragma GCC unroll 8
    for (int n = 0; n < kTogether; ++n) state[n].store(S + i * kStripColumns + n * V::width);
  }
#pragma GCC unroll 8
  for (int t = 0; t < tokens; ++t)
#pragma GCC unroll 8
    for (int n = 0; n < kTogether; ++n) sum[t][n].store(s.out[t] + n * V::width);
}

// `count` columns of a head from `first` on.
template <class T, bool backwards>
struct Strip {
  const RetentionWalk& w;
  int64_t batch, head, first, count;
  double* S;

  template <int tokens>
  void steps(int64_t from) const {
    Steps<tokens> s;
    s.a = S + w.rows * kStripColumns;
    s.r = s.a + tokens * w.rows;
    int64_t token[tokens];
    for (int t = 0; t < tokens; ++t) {
      const int64_t at = backwards ? w.tokens - 1 - from - t : from + t;
      token[t] = (batch * w.tokens + at) * w.heads + head;
      const T* a = static_cast<const T*>(w.a) + token[t] * w.rows;
      const T* r = static_cast<const T*>(w.r) + token[t] * w.rows;
      const T* b = static_cast<const T*>(w.b) + token[t] * w.cols + first;
      for (int64_t i = 0; i < w.rows; ++i) s.a[t * w.rows + i] = double(a[i]);
      for (int64_t i = 0; i < w.rows; ++i) s.r[t * w.rows + i] = double(r[i]);
      for (int64_t c = 0; c < kStripColumns; ++c) s.b[t][c] = c < count ? double(b[c]) : 0.0;
    }
    take<tokens, backwards>(s, double(static_cast<const T*>(w.decay)[head]), w.rows, S);
    for (int t = 0; t < tokens; ++t) {
      T* out = static_cast<T*>(w.out) + token[t] * w.cols + first;
      for (int64_t c = 0; c < count; ++c) out[c] = T(s.out[t][c]);
    }
  }

  void walk() const {
    const int64_t matrix = (batch * w.heads + head) * w.rows * w.cols;
    for (int64_t i = 0; i < w.rows; ++i)
      for (int64_t c = 0; c < kStripColumns; ++c)
        S[i * kStripColumns + c] =
            w.start && c < count ? w.start[matrix + i * w.start_row + (first + c) * w.start_col] : 0.0;
    int64_t from = 0;
    for (; from + w.kTokens <= w.tokens; from += w.kTokens) steps<RetentionWalk::kTokens>(from);
    for (; from < w.tokens; ++from) steps<1>(from);
    for (int64_t i = 0; i < w.rows; ++i)
      for (int64_t c = 0; c < count; ++c) w.end[matrix + i * w.cols + first + c] = S[i * kStripColumns + c];
  }
};

template <class T>
static void walk(const RetentionWalk& w, int64_t begin, int64_t end) {
  for (int64_t item = begin; item < end; ++item) {
    const int64_t head = item / w.column_ranges(), first = item % w.column_ranges() * w.kColumns;
    const int64_t last = first + w.kColumns < w.cols ? first + w.kColumns : w.cols;
    for (int64_t c = first; c < last; c += kStripColumns) {
      const int64_t count = last - c < kStripColumns ? last - c : kStripColumns;
      double* S = static_cast<double*>(w.scratch);
      if (w.backwards)
        Strip<T, true>{w, head / w.heads, head % w.heads, c, count, S}.walk();
      else
        Strip<T, false>{w, head / w.heads, head % w.heads, c, count, S}.walk();
    }
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const RetentionTable& KernelsOf<RetentionTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr RetentionTable table = {{}, {{walk<float>, walk<double>}}};
  return table;
}
}  // namespace pyformer
