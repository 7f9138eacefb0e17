// What attention_cpu.cpp is made of: two small matrix kernels, copies into their layouts, lanes, and sums of ranges.
//
// scores_tile: six rows of q (or dout) against a block of 64 keys, keys along the lanes, from a transposed copy of the
// block. weighted_tile: six rows of sums over a block, D along the lanes; the bits in `allow` say which terms a row
// has, so that tiles on the edge of a causal or windowed range cost no more than their attended part.
#pragma once
#include "pyformer/base/math.h"
#include "pyformer/base/reduce.h"
#include "pyformer/ops/attention/attention_rows.h"

namespace pyformer::PF_ISA {

constexpr int64_t kBlock = kAttentionBlock;
#if defined(__AVX512F__)
constexpr int64_t kTileVectors = 4;  // of 32 registers, six rows of them hold sums
#else
constexpr int64_t kTileVectors = 2;
#endif

static_assert(kAttentionFewRows == 4);  // as many as forward_block_of_few knows

template <class T>
static PF_INLINE const T* at(const void* data, AttentionStrides s, int64_t b, int64_t t, int64_t head) {
  return static_cast<const T*>(data) + b * s.batch + t * s.token + head * s.head;
}
template <class T>
static PF_INLINE T* at(void* data, AttentionStrides s, int64_t b, int64_t t, int64_t head) {
  return static_cast<T*>(data) + b * s.batch + t * s.token + head * s.head;
}
static PF_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

template <class T>
static constexpr int64_t padded(int64_t D) {
  return (D + Vec<T>::width - 1) / Vec<T>::width * Vec<T>::width;
}

// Calls tile(integral constant n, first) for runs of 6, 4, 2, 1 rows.
template <int n>
struct Count {
  static constexpr int value = n;
};
template <class Tile>
static PF_INLINE void for_row_tiles(int64_t rows, const Tile& tile) {
  int64_t r = 0;
  for (; r + 6 <= rows; r += 6) tile(Count<6>{}, r);
  if (r + 4 <= rows) tile(Count<4>{}, r), r += 4;
  if (r + 2 <= rows) tile(Count<2>{}, r), r += 2;
  if (r < rows) tile(Count<1>{}, r);
}
template <class Tile>
static PF_INLINE void for_vector_tiles(int64_t vectors, const Tile& tile) {
  int64_t v = 0;
  for (; v + kTileVectors <= vectors; v += kTileVectors) tile(Count<kTileVectors>{}, v);
  if constexpr (kTileVectors == 4) {
    if (vectors - v == 3) tile(Count<3>{}, v);
    if (vectors - v == 2) tile(Count<2>{}, v);
  }
  if (vectors - v == 1) tile(Count<1>{}, v);
}

// ---- matrix kernels -------------------------------------------------------------------------------------------

// out[r][c] = sum_d a[r][d] * b[d][c] for `rows` rows and N registers of columns; out and b have kBlock
// columns.
template <class T, int rows, int N>
static void scores_tile(const T* __restrict__ a, int64_t a_stride, const T* __restrict__ b, int64_t D,
                        T* __restrict__ out) {
  constexpr int64_t W = Vec<T>::width;
  for (int64_t start = 0; start < D; start += kChainLength) {
    const int64_t stop = least(D, start + kChainLength);
    Vec<T> sum[rows][N];
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) sum[r][n] = Vec<T>::zero();
    for (int64_t d = start; d < stop; ++d) {
      Vec<T> column[N];
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) column[n] = Vec<T>::load(b + d * kBlock + n * W);
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r) {
        const Vec<T> x = Vec<T>::broadcast(a[r * a_stride + d]);
#pragma GCC unroll 8
        for (int n = 0; n < N; ++n) sum[r][n] = fma(x, column[n], sum[r][n]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) {
        T* to = out + r * kBlock + n * W;
        (start ? Vec<T>::load(to) + sum[r][n] : sum[r][n]).store(to);
      }
  }
}

// The columns of a tile of rows that any row wants: [begin, end), multiples of 16.
struct Columns {
  int64_t begin, end;
};
template <int rows>
static PF_INLINE Columns wanted_columns(const uint64_t* allow) {
  uint64_t any = 0;
  for (int r = 0; r < rows; ++r) any |= allow[r];
  if (!any) return {0, 0};
  return {__builtin_ctzll(any) / kLanes * kLanes, (64 - __builtin_clzll(any) + kLanes - 1) / kLanes * kLanes};
}

// Columns are whole lanes, so that tiles of fewer registers than sixteen lanes take are not needed.
template <class T, int rows>
static PF_INLINE void scores(const T* a, int64_t a_stride, const T* b, int64_t D, Columns columns, T* out) {
  constexpr int64_t W = Vec<T>::width;
  for_vector_tiles((columns.end - columns.begin) / W, [&](auto count, int64_t v) {
    const int64_t c = columns.begin + v * W;
    constexpr int N = decltype(count)::value;
    if constexpr (N % (kLanes / W) == 0 || N == kTileVectors) scores_tile<T, rows, N>(a, a_stride, b + c, D, out + c);
  });
}

// Where the sums of a weighted_tile go: to[r] = to[r] * alpha[r] + sum, or + sum without alpha. Rows are whole
// registers.
template <class T>
struct Target {
  T* to;
  int64_t columns;
  const T* alpha;
};

template <class T, int rows, int N>
static PF_INLINE void add_to_target(const Target<T>& target, const uint64_t* allow, const Vec<T> (&sum)[rows][N]) {
  constexpr int64_t W = Vec<T>::width;
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
    if (!allow[r]) continue;
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
      T* to = target.to + r * target.columns + n * W;
      const Vec<T> old = Vec<T>::load(to);
      (target.alpha ? fma(old, Vec<T>::broadcast(target.alpha[r]), sum[r][n]) : old + sum[r][n]).store(to);
    }
  }
}

// sum[r][c] = sum over k with bit k in allow[r] of a(r, k) * b[k][c], a(r, k) = a[r * kBlock + k] or, transposed,
// a[k * kBlock + r].
template <class T, bool transposed, int rows, int N>
static void weighted_tile(const T* __restrict__ a, const uint64_t* allow, const T* __restrict__ b, int64_t b_stride,
                          const Target<T>& target) {
  constexpr int64_t W = Vec<T>::width;
  constexpr int64_t row_step = transposed ? 1 : kBlock, step = transposed ? kBlock : 1;
  uint64_t all = ~uint64_t(0), any = 0;
  for (int r = 0; r < rows; ++r) all &= allow[r], any |= allow[r];
  if (!any) return;
  // Terms [full, full_end) belong to every row; before and after, each row looks at its bits.
  const int64_t first = __builtin_ctzll(any), last = 64 - __builtin_clzll(any);
  const int64_t full = all ? __builtin_ctzll(all) : last;
  const uint64_t after = all ? ~(all >> full) : 0;
  const int64_t full_end = !all ? last : after ? least(64, full + __builtin_ctzll(after)) : 64;
  Vec<T> sum[rows][N];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) sum[r][n] = Vec<T>::zero();
  const auto some_rows = [&](int64_t k) __attribute__((always_inline)) {
    if (!((any >> k) & 1)) return;
    Vec<T> row[N];
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) row[n] = Vec<T>::load(b + k * b_stride + n * W);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      if (!((allow[r] >> k) & 1)) continue;
      const Vec<T> x = Vec<T>::broadcast(a[r * row_step + k * step]);
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) sum[r][n] = fma(x, row[n], sum[r][n]);
    }
  };
  // One loop around both calls, so that some_rows is compiled once.
  for (int64_t k = first, some_end = full;; some_end = last) {
    for (; k < some_end; ++k) some_rows(k);
    if (k >= last) break;
    for (; k < full_end; ++k) {
      Vec<T> row[N];
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) row[n] = Vec<T>::load(b + k * b_stride + n * W);
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r) {
        const Vec<T> x = Vec<T>::broadcast(a[r * row_step + k * step]);
#pragma GCC unroll 8
        for (int n = 0; n < N; ++n) sum[r][n] = fma(x, row[n], sum[r][n]);
      }
    }
  }
  add_to_target<T, rows, N>(target, allow, sum);
}

template <class T, bool transposed>
static void weighted_sums(int64_t rows, const T* a, const uint64_t* allow, const T* b, int64_t b_stride,
                          const Target<T>& target) {
  constexpr int64_t W = Vec<T>::width;
  for_row_tiles(rows, [&](auto row_count, int64_t r) {
    for_vector_tiles(target.columns / W, [&](auto count, int64_t v) {
      const Target<T> tile = {target.to + r * target.columns + v * W, target.columns,
                              target.alpha ? target.alpha + r : nullptr};
      weighted_tile<T, transposed, decltype(row_count)::value, decltype(count)::value>(
          a + r * (transposed ? 1 : kBlock), allow + r, b + v * W, b_stride, tile);
    });
  });
}

// ---- copies ---------------------------------------------------------------------------------------------------

constexpr int64_t kRowsAhead = 8;  // rows of one head are far apart: the processor does not fetch them by itself

template <class T>
static PF_INLINE void fetch_row(const T* row, int64_t D) {
  for (int64_t d = 0; d < D; d += 64 / int64_t(sizeof(T))) __builtin_prefetch(row + d);
}
template <class T>
static PF_INLINE void fetch_row_to_write(T* row, int64_t D) {
  for (int64_t d = 0; d < D; d += 64 / int64_t(sizeof(T))) __builtin_prefetch(row + d, 1);
}

// to[d] = from[d] * factor, with zeros up to the padded width.
template <class T>
static PF_INLINE void copy_row(const T* from, int64_t D, T factor, T* to) {
  constexpr int64_t W = Vec<T>::width;
  const Vec<T> factors = Vec<T>::broadcast(factor);
  int64_t d = 0;
  for (; d + W <= D; d += W) (Vec<T>::load(from + d) * factors).store(to + d);
  if (d < D) (Vec<T>::load_partial(from + d, D - d) * factors).store(to + d);
}
// to[r][d] = from[r][d] * factor from rows of the padded width.
template <class T>
static void store_rows(const T* from, int64_t rows, int64_t D, T factor, T* to, int64_t stride) {
  constexpr int64_t W = Vec<T>::width;
  const Vec<T> factors = Vec<T>::broadcast(factor);
  for (int64_t r = 0; r < least(kRowsAhead, rows); ++r) fetch_row_to_write(to + r * stride, D);
  for (int64_t r = 0; r < rows; ++r) {
    if (r + kRowsAhead < rows) fetch_row_to_write(to + (r + kRowsAhead) * stride, D);
    for (int64_t d = 0; d < D; d += W) {
      const Vec<T> x = Vec<T>::load(from + r * padded<T>(D) + d) * factors;
      D - d >= W ? x.store(to + r * stride + d) : x.store_partial(to + r * stride + d, D - d);
    }
  }
}
template <class T>
static void copy_rows(const T* from, int64_t stride, int64_t rows, int64_t D, T* to) {
  for (int64_t r = 0; r < rows; ++r) {
    if (r + kRowsAhead < rows) fetch_row(from + (r + kRowsAhead) * stride, D);
    copy_row(from + r * stride, D, T(1), to + r * padded<T>(D));
  }
}

#if defined(__clang__)
template <class T>
static PF_INLINE Vec<T> shuffle(Vec<T> a, Vec<T> b, IntRegister<T> index) {
  constexpr int W = int(Vec<T>::width);
  Vec<T> out;
  for (int i = 0; i < W; ++i) out.r[i] = index[i] < W ? a.r[index[i]] : b.r[index[i] - W];
  return out;
}
#else
template <class T>
static PF_INLINE Vec<T> shuffle(Vec<T> a, Vec<T> b, IntRegister<T> index) {
  return {__builtin_shuffle(a.r, b.r, index)};
}
#endif

// 0, 1, 2, ... : an index computed from this literal folds to a constant, one filled by a loop does not.
template <class T>
static PF_INLINE IntRegister<T> lane_numbers() {
  if constexpr (Vec<T>::width == 16)
    return IntRegister<T>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  else if constexpr (Vec<T>::width == 8)
    return IntRegister<T>{0, 1, 2, 3, 4, 5, 6, 7};
  else if constexpr (Vec<T>::width == 4)
    return IntRegister<T>{0, 1, 2, 3};
  else
    return IntRegister<T>{0, 1};
}

template <class T>
static PF_INLINE Vec<T> rotate(Vec<T> a, int by) {
  return shuffle(a, a, (lane_numbers<T>() + by) & int(Vec<T>::width - 1));
}

// a0 b0 a1 b1 ... from the lower, or the upper, halves of a and b.
template <class T, bool upper>
static PF_INLINE Vec<T> zip(Vec<T> a, Vec<T> b) {
  constexpr int W = int(Vec<T>::width), half = upper ? W / 2 : 0;
  const IntRegister<T> i = lane_numbers<T>();
  return shuffle(a, b, half + (i >> 1) + (i & 1) * W);
}

// Transposes a square of registers: each round zips row i with row i + W / 2.
template <class T>
static PF_INLINE void transpose(Vec<T>* rows) {
  constexpr int64_t W = Vec<T>::width;
#pragma GCC unroll 4
  for (int64_t round = 1; round < W; round *= 2) {
    Vec<T> zipped[W];
#pragma GCC unroll 8
    for (int64_t i = 0; i < W / 2; ++i) {
      zipped[2 * i] = zip<T, false>(rows[i], rows[i + W / 2]);
      zipped[2 * i + 1] = zip<T, true>(rows[i], rows[i + W / 2]);
    }
#pragma GCC unroll 16
    for (int64_t i = 0; i < W; ++i) rows[i] = zipped[i];
  }
}

// square[r][c] = from[r][c] for r < rows and c < columns, zeros elsewhere.
template <class T>
static PF_INLINE void load_square(const T* from, int64_t stride, int64_t rows, int64_t columns, Vec<T>* square) {
  constexpr int64_t W = Vec<T>::width;
  if (rows >= W && columns == W) {
#pragma GCC unroll 16
    for (int64_t r = 0; r < W; ++r) square[r] = Vec<T>::load(from + r * stride);
  } else {
#pragma GCC unroll 16
    for (int64_t r = 0; r < W; ++r)
      square[r] = r < rows ? Vec<T>::load_partial(from + r * stride, columns) : Vec<T>::zero();
  }
}

// to[d][j] = from[j][d] for n <= kBlock rows j; zeros in the columns after them.
template <class T>
static void copy_transposed(const T* from, int64_t stride, int64_t n, int64_t D, T* to) {
  constexpr int64_t W = Vec<T>::width;
  for (int64_t j = 0; j < kBlock; j += W)
    for (int64_t d = 0; d < D; d += W) {
      Vec<T> square[W];
      const int64_t columns = least(W, D - d);
      load_square(from + j * stride + d, stride, n - j, columns, square);
      transpose(square);
#pragma GCC unroll 16
      for (int64_t r = 0; r < W; ++r)
        if (r < columns) square[r].store(to + (d + r) * kBlock + j);
    }
}

// The scores of `rows` rows as scores_tile gives them, against n <= kBlock rows of k, which are transposed in registers
// only.
template <class T, int rows>
static void scores_in_place(const T* a, int64_t a_stride, const T* k, int64_t k_stride, int64_t n, int64_t D, T* out) {
  constexpr int64_t W = Vec<T>::width;
  for (int64_t j = 0; j < n; j += W)
    for (int64_t start = 0; start < D; start += kChainLength) {
      Vec<T> sum[rows];
      for (int r = 0; r < rows; ++r) sum[r] = Vec<T>::zero();
      for (int64_t d = start; d < least(D, start + kChainLength); d += W) {
        const int64_t columns = least(W, D - d);
        Vec<T> square[W];
        load_square(k + j * k_stride + d, k_stride, n - j, columns, square);
        transpose(square);
#pragma GCC unroll 16
        for (int64_t c = 0; c < W; ++c)
          for (int r = 0; r < rows && c < columns; ++r)
            sum[r] = fma(Vec<T>::broadcast(a[r * a_stride + d + c]), square[c], sum[r]);
      }
      for (int r = 0; r < rows; ++r) {
        T* to = out + r * kBlock + j;
        (start ? Vec<T>::load(to) + sum[r] : sum[r]).store(to);
      }
    }
}

template <class T>
static void prefetch_rows(const T* from, int64_t stride, int64_t rows, int64_t D) {
  for (int64_t r = 0; r < rows; ++r) fetch_row(from + r * stride, D);
}

// Reads rows in the order of their addresses, so that the processor's own prefetching runs at full speed; they are then
// near for code that reads them in another order. Measured on Zen 4: 39 GB/s for two cores, 25 with prefetches instead.
template <class T>
static void touch_rows(const T* from, int64_t stride, int64_t rows, int64_t elements) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t e = 0; e < elements; e += 64 / int64_t(sizeof(T)))
      static_cast<void>(*static_cast<const volatile T*>(from + r * stride + e));
}

// ---- lanes and masks ------------------------------------------------------------------------------------------

// The tree of sum_lanes and max_lanes, in registers.
template <class T, class Join>
static PF_INLINE T fold_lanes(const Lanes<T>& lanes, const Join& join) {
  constexpr int W = int(Vec<T>::width);
  Vec<T> v[Lanes<T>::count];
#pragma GCC unroll 8
  for (int64_t i = 0; i < Lanes<T>::count; ++i) v[i] = lanes.v[i];
#pragma GCC unroll 8
  for (int64_t half = Lanes<T>::count / 2; half > 0; half /= 2)
#pragma GCC unroll 8
    for (int64_t i = 0; i < half; ++i) v[i] = join(v[i], v[i + half]);
#pragma GCC unroll 8
  for (int half = W / 2; half > 0; half /= 2) v[0] = join(v[0], rotate(v[0], half));
  return v[0].r[0];
}
template <class T>
static PF_INLINE T highest_lane(const Lanes<T>& lanes) {
  return fold_lanes(lanes, [](Vec<T> a, Vec<T> b) { return max(a, b); });
}
template <class T>
static PF_INLINE T total_of_lanes(const Lanes<T>& lanes) {
  return fold_lanes(lanes, [](Vec<T> a, Vec<T> b) { return a + b; });
}

// Lanes of x whose bits are set, -inf in the others.
template <class T>
static PF_INLINE Vec<T> keep(uint64_t bits, Vec<T> x) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return {_mm512_mask_blend_ps(__mmask16(bits), _mm512_set1_ps(-kInfinity<T>), x.r)};
  else
    return {_mm512_mask_blend_pd(__mmask8(bits), _mm512_set1_pd(-kInfinity<T>), x.r)};
#else
  for (int64_t i = 0; i < Vec<T>::width; ++i)
    if (!((bits >> i) & 1)) x.r[i] = -kInfinity<T>;
  return x;
#endif
}

// Adds the mask of operands of S where attended, and -inf where not.
template <class S, class T>
static PF_INLINE void finish_scores(const AttentionInput& in, uint64_t allow, Columns columns, int64_t mask_row, T* s) {
  for (uint64_t left = in.mask_added ? allow : 0; left; left &= left - 1) {
    const int j = __builtin_ctzll(left);
    s[j] = s[j] + added_mask<S>(in, mask_row + j * in.mask_key);
  }
  for (int64_t c = columns.begin; c < columns.end; c += Vec<T>::width)
    keep(allow >> c, Vec<T>::load(s + c)).store(s + c);
}

// ---- joining key ranges ---------------------------------------------------------------------------------------

// total = total * alpha + (o * beta)
template <class T>
static PF_INLINE void join_sums(const T* o, T alpha, T beta, int64_t D, T* total) {
  const Vec<T> alphas = Vec<T>::broadcast(alpha), betas = Vec<T>::broadcast(beta);
  for (int64_t d = 0; d < D; d += Vec<T>::width) {
    const int64_t n = least(Vec<T>::width, D - d);
    const Vec<T> sum = fma(Vec<T>::load_partial(total + d, n), alphas, Vec<T>::load_partial(o + d, n) * betas);
    n == Vec<T>::width ? sum.store(total + d) : sum.store_partial(total + d, n);
  }
}

// Two sums of exponentials, exp(s - m) and exp(s - total_m), get one base, the greater of m and total_m: the first is
// multiplied by beta, the second by alpha.
template <class V>
struct Rebase {
  V raised, alpha, beta;
  PF_INLINE Rebase(V m, V total_m) {
    raised = max(m, total_m);
    const V base = select(raised == splat<V>(-kInfinity<Element<V>>), splat<V>(0), raised);
    alpha = exp_flush(total_m - base);
    beta = exp_flush(m - base);
  }
};

}  // namespace pyformer::PF_ISA
