// Tiles of sums in T, float or double, each ((p0 + p1) + p2) + ..., p_i one FMA chain from +0: a block computes rows *
// 16 by 64 of them from strips of 16 terms in shared memory, a thread rows by 4.
#pragma once
#include "pyformer/cuda/kernel.h"

namespace pyformer::cuda {

template <int rows, class T = float>
struct FmaTile {
  static constexpr int kOwn = 4, kStep = 16, kDepth = 16;  // a thread's rows and columns are kStep apart
  static constexpr int kHeight = rows * kStep, kWidth = kOwn * kStep;
  using Sums = T[rows][kOwn];
  // + 1: columns that are written lie in different banks.
  using A = T[kDepth][kHeight + 1];
  using B = T[kDepth][kWidth + 1];
  struct Shared {
    A a;
    B b;
  };

  // Chain c has length_of(c) terms; load_a and load_b (c, start, stop, strip) bring factors [start, stop) of its terms,
  // as [term][vector]. Continues `sum` unless is_first.
  template <class LengthOf, class LoadA, class LoadB>
  static DEVICE void add_chains(Shared& s, int64_t chains, const LengthOf& length_of, const LoadA& load_a,
                                const LoadB& load_b, bool is_first, Sums& sum) {
    const int row = int(threadIdx.x) / kStep, col = int(threadIdx.x) % kStep;
    for (int64_t c = 0; c < chains; ++c) {
      const int64_t length = length_of(c);
      T chain[rows][kOwn] = {};
      for (int64_t start = 0; start < length; start += kDepth) {
        const int depth = length - start < kDepth ? int(length - start) : kDepth;
        load_a(c, start, start + depth, s.a);
        load_b(c, start, start + depth, s.b);
        __syncthreads();
        for (int p = 0; p < depth; ++p) {
          T x[rows], y[kOwn];
#pragma unroll
          for (int i = 0; i < rows; ++i) x[i] = s.a[p][row + i * kStep];
#pragma unroll
          for (int j = 0; j < kOwn; ++j) y[j] = s.b[p][col + j * kStep];
#pragma unroll
          for (int i = 0; i < rows; ++i)
#pragma unroll
            for (int j = 0; j < kOwn; ++j) chain[i][j] = fma(x[i], y[j], chain[i][j]);
        }
        __syncthreads();
      }
#pragma unroll
      for (int i = 0; i < rows; ++i)
#pragma unroll
        for (int j = 0; j < kOwn; ++j) sum[i][j] = is_first ? chain[i][j] : sum[i][j] + chain[i][j];
      is_first = false;
    }
  }

  // use(term, vector, place in the strip) for this thread's share of `count` vectors' terms [start, stop).
  template <int count, class Use>
  static DEVICE void each_factor(int64_t start, int64_t stop, bool along_terms, T (&strip)[kDepth][count],
                                 const Use& use) {
    constexpr int vectors = count - 1;
    for (int e = int(threadIdx.x); e < vectors * kDepth; e += kThreads) {
      const int p = along_terms ? e % kDepth : e / vectors, i = along_terms ? e / kDepth : e % vectors;
      if (start + p < stop) use(start + p, i, strip[p][i]);
    }
  }

  // use(row, col, sum) for each of this thread's sums of a tile that begins there.
  template <class Use>
  static DEVICE void each(int64_t first_row, int64_t first_col, Sums& sum, const Use& use) {
#pragma unroll
    for (int i = 0; i < rows; ++i)
#pragma unroll
      for (int j = 0; j < kOwn; ++j)
        use(first_row + int(threadIdx.x) / kStep + i * kStep, first_col + int(threadIdx.x) % kStep + j * kStep,
            sum[i][j]);
  }
};

}  // namespace pyformer::cuda
