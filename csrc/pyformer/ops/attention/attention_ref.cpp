// attention, plain loops. What they define, for one query (row) of one head. Keys are taken in ranges of 256 from key
// 0; in a range, from m = -inf, l = 0, o = 0, in blocks of 64:
//
//   s_j   = dot(q * scale, k_j) (+ mask_j)     one FMA chain from +0 over d; chains of 256 added in order where D > 256
//   m'    = max(m, max_j s_j)                  over the block's attended keys; a NaN is ignored here, not below
//   alpha = exp(m - m'),  p_j = exp(s_j - m')  with m' = 0 where no score was above -inf yet
//   l     = l * alpha + sum_j p_j              in 16 lanes: lane c takes j = c, c + 16, c + 32, c + 48 of the block in
//                                              order from +0, then one FMA; lanes meet in a binary tree at the end
//   o     = o * alpha + sum_j p_j v_j          one FMA chain from +0 over the block's attended keys, then one FMA
//
// Ranges with l = 0 are left out. The others are joined in order, the first taken as it is:
//
//   m'    = max(m, m_range)                    0 below where it is -inf
//   l     = l * exp(m - m') + (l_range * exp(m_range - m')), an FMA; o likewise
//   out   = o / l                              zeros where l is 0: nothing attended, or scores of -inf only
//
// alpha is 1, and multiplies nothing away, where a block does not raise the row's maximum. Keys that a row does not
// attend to take no part, nor do blocks in which it attends to none: not even as a multiplication by zero. So a row's
// bits depend on its query, the attended keys and their positions only. Saved: row_max = m, row_sum = l; their
// sum m + log(l) would lose the probabilities' precision where scores are large.
//
// 16-bit floats: elements are widened, all of the above is float32, out is rounded once. float16 keeps these sums.
// bfloat16 takes products by its own (bfloat16_dot.h):
//
//   s_j = bfloat16_dot(q, k_j) * scale (+ mask_j),   p_j = exp(s_j - m') rounded to bfloat16, l sums the rounded p_j
//   o   = o * alpha + bfloat16_dot(p, v)       over the block's 64 keys, with +0 in both where a key is not attended
//
// Source: Milakov, Gimelshein 2018 (online softmax); Dao et al. 2022, algorithms 1 and 4.
#include "pyformer/base/bfloat16_dot.h"
#include "pyformer/base/math.h"
#include "pyformer/base/reduce.h"
#include "pyformer/ops/attention/attention_rows.h"

namespace pyformer::PF_ISA {

template <class T>
static const T* at(const void* data, AttentionStrides s, int64_t b, int64_t t, int64_t head) {
  return static_cast<const T*>(data) + b * s.batch + t * s.token + head * s.head;
}
template <class T>
static T* at(void* data, AttentionStrides s, int64_t b, int64_t t, int64_t head) {
  return static_cast<T*>(data) + b * s.batch + t * s.token + head * s.head;
}

// Writes a row of the width's elements, in the accumulator's dtype where `wide`.
template <class T, class Value>
static void store_row(void* data, AttentionStrides s, bool wide, int64_t b, int64_t t, int64_t head, int64_t width,
                      const Value& value) {
  using A = Accumulator<T>;
  for (int64_t d = 0; d < width; ++d)
    if (wide)
      at<A>(data, s, b, t, head)[d] = value(d);
    else
      at<T>(data, s, b, t, head)[d] = rounded<T>(value(d));
}

template <class T>
constexpr bool kIsBFloat16 = false;
template <>
constexpr bool kIsBFloat16<BFloat16> = true;

// What is multiplied with values of T: of bfloat16 rounded to it.
template <class T>
static Accumulator<T> factor_of(Accumulator<T> x) {
  if constexpr (kIsBFloat16<T>) return to_float(to_bfloat16(x));
  return x;
}

// dot(x * factor, y); of bfloat16 dot(x, y) * factor
template <class T>
static Accumulator<T> chain_dot(const T* x, Accumulator<T> factor, const T* y, int64_t n) {
  using A = Accumulator<T>;
  if constexpr (kIsBFloat16<T>) {
    return bfloat16_dot(
               n, [&](int64_t d) { return to_float(x[d]); }, [&](int64_t d) { return to_float(y[d]); }) *
           factor;
  } else {
    A total = A(0);
    for (int64_t start = 0; start < n; start += kChainLength) {
      A chain = A(0);
      for (int64_t d = start; d < n && d < start + kChainLength; ++d)
        chain = fma(widened(x[d]) * factor, A(widened(y[d])), chain);
      total = start ? total + chain : chain;
    }
    return total;
  }
}

// sum of a(j) * b(j) over those of a block of 64 whose bit is set: one FMA chain, or bfloat16's sum.
template <class T, class X, class Y>
static Accumulator<T> block_sum(uint64_t bits, const X& a, const Y& b) {
  using A = Accumulator<T>;
  const auto set = [&](int64_t j) { return bool((bits >> j) & 1); };
  if constexpr (kIsBFloat16<T>) {
    return bfloat16_dot(
        kAttentionBlock, [&](int64_t j) { return set(j) ? a(j) : A(0); },
        [&](int64_t j) { return set(j) ? b(j) : A(0); });
  } else {
    A chain = A(0);
    for (int64_t j = 0; j < kAttentionBlock; ++j)
      if (set(j)) chain = fma(a(j), b(j), chain);
    return chain;
  }
}

static bool bit(uint64_t bits, int64_t j) { return (bits >> j) & 1; }

// The attended keys of block for query (b, i, head), and their scores.
template <class T>
static uint64_t block_scores(const AttentionInput& in, int64_t b, int64_t i, int64_t head, int64_t block,
                             Accumulator<T>* s) {
  using A = Accumulator<T>;
  const int64_t start = mask_start(in, b, head, i, block);
  const uint64_t bits = mask_bits<T>(in, range_bits(key_range(in, b, i), block), start);
  const T* q = at<T>(in.q, in.q_strides, b, i, head);
  for (int64_t j = 0; j < kAttentionBlock; ++j) {
    if (!bit(bits, j)) continue;
    const T* k = at<T>(in.k, in.k_strides, b, block * kAttentionBlock + j, head / (in.heads / in.key_heads));
    s[j] = chain_dot(q, A(in.scale), k, in.head_dim);
    if (in.mask_added) s[j] = s[j] + added_mask<T>(in, start + j * in.mask_key);
  }
  return bits;
}

// What some keys give a row: o has Dv elements, all are of the accumulator's type.
template <class A>
struct RowSums {
  A m, l;
  A* o;
};

template <class T, class A = Accumulator<T>>
static RowSums<A> range_sums(const AttentionForward& a, int64_t b, int64_t i, int64_t head, int64_t range, A* o) {
  const AttentionInput& in = a.in;
  const int64_t Dv = in.value_dim, end = (range + 1) * kAttentionKeyRange;
  A m = -kInfinity<A>;
  A lane[kLanes] = {};
  for (int64_t d = 0; d < Dv; ++d) o[d] = A(0);
  for (int64_t first = range * kAttentionKeyRange; first < in.keys && first < end; first += kAttentionBlock) {
    A s[kAttentionBlock];
    const uint64_t bits = block_scores<T>(in, b, i, head, first / kAttentionBlock, s);
    if (!bits) continue;
    A highest[kLanes], sum[kLanes] = {};
    for (int64_t c = 0; c < kLanes; ++c) highest[c] = -kInfinity<A>;
    for (int64_t j = 0; j < kAttentionBlock; ++j)
      if (bit(bits, j)) highest[j % kLanes] = max(s[j], highest[j % kLanes]);
    const A raised = max(max_lanes(highest), m);
    const A base = raised == -kInfinity<A> ? A(0) : raised;
    const A alpha = exp_flush(m - base);
    for (int64_t j = 0; j < kAttentionBlock; ++j) {
      if (!bit(bits, j)) continue;
      s[j] = factor_of<T>(exp_flush(s[j] - base));
      sum[j % kLanes] = sum[j % kLanes] + s[j];
    }
    for (int64_t c = 0; c < kLanes; ++c) lane[c] = fma(lane[c], alpha, sum[c]);
    const T* v = at<T>(in.v, in.v_strides, b, first, head / (in.heads / in.key_heads));
    for (int64_t d = 0; d < Dv; ++d) {
      const A chain = block_sum<T>(
          bits, [&](int64_t j) { return s[j]; }, [&](int64_t j) { return A(widened(v[j * in.v_strides.token + d])); });
      o[d] = fma(o[d], alpha, chain);
    }
    m = raised;
  }
  return {m, sum_lanes(lane), o};
}

// total is all zeros, with m = -inf, before the first range.
template <class A>
static void join_range(const RowSums<A>& range, int64_t Dv, RowSums<A>& total) {
  if (range.l == A(0)) return;
  if (total.l == A(0)) {
    total.m = range.m, total.l = range.l;
    for (int64_t d = 0; d < Dv; ++d) total.o[d] = range.o[d];
    return;
  }
  const A raised = max(range.m, total.m);
  const A base = raised == -kInfinity<A> ? A(0) : raised;
  const A alpha = exp_flush(total.m - base), beta = exp_flush(range.m - base);
  total.m = raised, total.l = fma(total.l, alpha, range.l * beta);
  for (int64_t d = 0; d < Dv; ++d) total.o[d] = fma(total.o[d], alpha, range.o[d] * beta);
}

// row = (b * H + head) * Tq + i
template <class A>
static A* partial_of(const AttentionForward& a, int64_t row, int64_t range) {
  return static_cast<A*>(a.partial) + (row * a.task_ranges + range) * (a.in.value_dim + 2);
}

// A row from its ranges: given(range) returns the sums of one. They are joined in `sums`, of Dv elements.
template <class T, class A, class Given>
static void join_row(const AttentionForward& a, int64_t b, int64_t head, int64_t i, int64_t ranges, A* sums,
                     const Given& given) {
  const AttentionInput& in = a.in;
  const int64_t Dv = in.value_dim, row = (b * in.heads + head) * in.queries + i;
  RowSums<A> total = {-kInfinity<A>, A(0), sums};
  for (int64_t range = 0; range < ranges; ++range) join_range(given(range), Dv, total);
  store_row<T>(a.out, a.out_strides, a.wide, b, i, head, Dv,
               [&](int64_t d) { return total.l == A(0) ? A(0) : sums[d] / total.l; });
  static_cast<A*>(a.row_max)[row] = total.m;
  static_cast<A*>(a.row_sum)[row] = total.l;
}

template <class T>
static void join(const AttentionForward& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  const int64_t heads = a.in.heads, queries = a.in.queries, Dv = a.in.value_dim;
  for (int64_t row = begin; row < end; ++row)
    join_row<T>(a, row / queries / heads, row / queries % heads, row % queries, a.task_ranges,
                static_cast<A*>(a.workspace), [&](int64_t range) {
                  A* o = partial_of<A>(a, row, range);
                  return RowSums<A>{o[Dv], o[Dv + 1], o};
                });
}

template <class T>
static void forward(const AttentionForward& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  const AttentionInput& in = a.in;
  const int64_t group = in.heads / in.key_heads, rows = in.queries * group, Dv = in.value_dim;
  const int64_t head_tasks = (in.key_heads + a.task_heads - 1) / a.task_heads, tasks = in.batch * head_tasks;
  const int64_t ranges = (in.keys + kAttentionKeyRange - 1) / kAttentionKeyRange;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t b = item % tasks / head_tasks, first_head = item % tasks % head_tasks * a.task_heads;
    const int64_t first = a.task_ranges ? 0 : (attention_row_blocks(in) - 1 - item / tasks) * kAttentionRowBlock;
    for (int64_t key_head = first_head; key_head < in.key_heads && key_head < first_head + a.task_heads; ++key_head)
      for (int64_t r = first; r < rows && r < first + kAttentionRowBlock; ++r) {
        const int64_t i = r / group, head = key_head * group + r % group;
        const auto range_of = [&](int64_t range, A* o) { return range_sums<T>(a, b, i, head, range, o); };
        if (!a.task_ranges) {
          A* sums = static_cast<A*>(a.workspace);
          join_row<T>(a, b, head, i, ranges, sums + Dv, [&](int64_t range) { return range_of(range, sums); });
          continue;
        }
        A* partial = partial_of<A>(a, (b * in.heads + head) * in.queries + i, item / tasks);
        const RowSums<A> sums = range_of(item / tasks, partial);
        partial[Dv] = sums.m, partial[Dv + 1] = sums.l;
      }
  }
}

// With base as above, e_ij = exp(s_ij - base_i), r_i = dout_i * (1 / l_i), t_i = q_i * scale, and
// delta_i = dot(r_i, out_i) (row-reduction rule):
//   (1) dv_j = sum_i e_ij r_i
//   (2) ds_ij = e_ij * (dot(r_i, v_j) - delta_i)      the dot as in the forward pass
//   (3) dk_j = sum_i ds_ij t_i
//   (4) dq_i = (sum_j ds_ij k_j) * scale
// Sums over queries: one partial a (head, chunk of 2,048 queries), partials added by head, then chunk. In a partial:
// an FMA chain from +0 over the attending queries of each block of 64, block sums added in order to +0, blocks in
// which no query attends to the key left out. Sums over keys: the same over blocks of 64 keys, without partials.
// Rows with l = 0 take no part. Of bfloat16
//   (1) dv_j = sum_i w_ij dout_i,  w_ij = e_ij / l_i rounded to bfloat16      (3), (4) ds_ij likewise rounded
//   (2) ds_ij = e_ij * (bfloat16_dot(dout_i, v_j) / l_i - delta_i)            (3) scale multiplies the sum, as in (4)
// where / l_i is * (1 / l_i), and a block's sums are bfloat16_dot over its 64 members, with +0 where one has no part.
template <class T>
static void backward_block(const AttentionBackward& a, int64_t b, int64_t head, int64_t first, int64_t last,
                           int64_t block, Accumulator<T>* dq_chunk, Accumulator<T>* dk_block,
                           Accumulator<T>* dv_block) {
  using A = Accumulator<T>;
  const AttentionInput& in = a.in;
  const int64_t D = in.head_dim, Dv = in.value_dim;
  const int64_t key_head = head / (in.heads / in.key_heads), key = block * kAttentionBlock;
  const T* k = at<T>(in.k, in.k_strides, b, key, key_head);
  const T* v = at<T>(in.v, in.v_strides, b, key, key_head);
  uint64_t bits[kAttentionBlock];
  A inverse[kAttentionBlock];
  A e[kAttentionBlock][kAttentionBlock], ds[kAttentionBlock][kAttentionBlock];
  for (int64_t i = first; i < last; ++i) {
    const int64_t row = (b * in.heads + head) * in.queries + i, r = i - first;
    const A m = static_cast<const A*>(a.row_max)[row], l = static_cast<const A*>(a.row_sum)[row];
    bits[r] = block_scores<T>(in, b, i, head, block, e[r]);
    if (l == A(0)) bits[r] = 0;
    if (!bits[r]) continue;
    const A base = m == -kInfinity<A> ? A(0) : m, factor = A(1) / l;
    inverse[r] = factor;
    const T* dout = at<T>(a.dout, a.dout_strides, b, i, head);
    const auto out = [&](int64_t d) {
      return a.wide ? at<A>(a.out, a.out_strides, b, i, head)[d]
                    : A(widened(at<T>(a.out, a.out_strides, b, i, head)[d]));
    };
    const A delta = row_dot<A>(Dv, [&](int64_t d) { return widened(dout[d]) * factor; }, out);
    for (int64_t j = 0; j < kAttentionBlock; ++j) {
      if (!bit(bits[r], j)) continue;
      e[r][j] = exp_flush(e[r][j] - base);
      ds[r][j] = factor_of<T>(e[r][j] * (chain_dot(dout, factor, v + j * in.v_strides.token, Dv) - delta));  // (2)
      if constexpr (kIsBFloat16<T>) e[r][j] = factor_of<T>(e[r][j] * factor);
    }
    if (!a.dq) continue;
    for (int64_t d = 0; d < D; ++d) {
      const A chain = block_sum<T>(
          bits[r], [&](int64_t j) { return ds[r][j]; },
          [&](int64_t j) { return A(widened(k[j * in.k_strides.token + d])); });  // (4)
      dq_chunk[r * D + d] = dq_chunk[r * D + d] + chain;
    }
  }
  if (!a.dk) return;
  const T* dout = at<T>(a.dout, a.dout_strides, b, first, head);
  const T* q = at<T>(in.q, in.q_strides, b, first, head);
  for (int64_t j = 0; j < kAttentionBlock; ++j) {
    uint64_t attending = 0;
    for (int64_t r = 0; r < last - first; ++r) attending |= uint64_t(bit(bits[r], j)) << r;
    for (int64_t d = 0; attending && d < Dv; ++d) {
      const auto dout_of = [&](int64_t r) {
        const A value = widened(dout[r * a.dout_strides.token + d]);
        return kIsBFloat16<T> ? value : value * inverse[r];
      };
      const A sum_v = block_sum<T>(attending, [&](int64_t r) { return e[r][j]; }, dout_of);  // (1)
      dv_block[j * Dv + d] = dv_block[j * Dv + d] + sum_v;
    }
    for (int64_t d = 0; attending && d < D; ++d) {
      const auto q_of = [&](int64_t r) {
        const A value = widened(q[r * in.q_strides.token + d]);
        return kIsBFloat16<T> ? value : value * A(in.scale);
      };
      const A sum_k = block_sum<T>(attending, [&](int64_t r) { return ds[r][j]; }, q_of);  // (3)
      dk_block[j * D + d] = dk_block[j * D + d] + sum_k;
    }
  }
}

// Writes a key's partial of dk or dv: to its place, or, where several are to be added, behind one another.
template <class T>
static void store_partial(const AttentionBackward& a, int64_t width, const Accumulator<T>* from, void* data,
                          AttentionStrides s, int64_t b, int64_t head, int64_t chunk, int64_t key) {
  const AttentionInput& in = a.in;
  const int64_t group = in.heads / in.key_heads, partials = attention_partials(in);
  if (partials == 1) {
    store_row<T>(data, s, a.wide, b, key, head, width, [&](int64_t d) { return from[d]; });
    return;
  }
  const int64_t partial =
      (b * in.key_heads + head / group) * partials + head % group * attention_query_chunks(in) + chunk;
  Accumulator<T>* to = static_cast<Accumulator<T>*>(data) + (partial * in.keys + key) * width;
  for (int64_t d = 0; d < width; ++d) to[d] = from[d];
}

template <class T>
static void backward(const AttentionBackward& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  const AttentionInput& in = a.in;
  const int64_t D = in.head_dim, Dv = in.value_dim, chunks = attention_query_chunks(in);
  A* dk_block = static_cast<A*>(a.workspace);
  A* dv_block = dk_block + kAttentionBlock * D;
  A* dq = dv_block + kAttentionBlock * Dv;  // of the chunk
  for (int64_t item = begin; item < end; ++item) {
    const int64_t heads = in.batch * in.heads, chunk = chunks - 1 - item / heads;
    const int64_t b = item % heads / in.heads, head = item % in.heads;
    const int64_t start = chunk * kAttentionQueryChunk;
    const int64_t stop = start + kAttentionQueryChunk < in.queries ? start + kAttentionQueryChunk : in.queries;
    for (int64_t e = 0; e < (stop - start) * D; ++e) dq[e] = A(0);
    for (int64_t block = 0; block * kAttentionBlock < in.keys; ++block) {
      for (int64_t e = 0; e < kAttentionBlock * D; ++e) dk_block[e] = A(0);
      for (int64_t e = 0; e < kAttentionBlock * Dv; ++e) dv_block[e] = A(0);
      for (int64_t i = start; i < stop; i += kAttentionBlock)
        backward_block<T>(a, b, head, i, i + kAttentionBlock < stop ? i + kAttentionBlock : stop, block,
                          dq + (i - start) * D, dk_block, dv_block);
      for (int64_t e = 0; kIsBFloat16<T> && e < kAttentionBlock * D; ++e) dk_block[e] = dk_block[e] * A(in.scale);
      for (int64_t j = 0; a.dk && j < kAttentionBlock && block * kAttentionBlock + j < in.keys; ++j) {
        const int64_t key = block * kAttentionBlock + j;
        store_partial<T>(a, D, dk_block + j * D, a.dk, a.dk_strides, b, head, chunk, key);
        store_partial<T>(a, Dv, dv_block + j * Dv, a.dv, a.dv_strides, b, head, chunk, key);
      }
    }
    for (int64_t i = start; a.dq && i < stop; ++i)
      store_row<T>(a.dq, a.dq_strides, a.wide, b, i, head, D,
                   [&](int64_t d) { return dq[(i - start) * D + d] * A(in.scale); });
  }
}

template <class T>
static void sum(const AttentionSum& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  const int64_t D = a.width;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t row = item / a.keys, key = item % a.keys;  // row: batch and key head
    const A* partial = static_cast<const A*>(a.partial) + (row * a.partials * a.keys + key) * D;
    store_row<T>(a.sum, a.sum_strides, a.wide, row / a.key_heads, key, row % a.key_heads, D, [&](int64_t d) {
      A total = partial[d];
      for (int64_t n = 1; n < a.partials; ++n) total = total + partial[n * a.keys * D + d];
      return total;
    });
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const AttentionTilesTable& KernelsOf<AttentionTilesTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr AttentionTilesTable table = {
      for_each_float<Kernel<AttentionForward>>([]<class T>() -> Kernel<AttentionForward> { return forward<T>; }),
      for_each_float<Kernel<AttentionForward>>([]<class T>() -> Kernel<AttentionForward> { return join<T>; }),
      for_each_float<Kernel<AttentionBackward>>([]<class T>() -> Kernel<AttentionBackward> { return backward<T>; }),
      for_each_float<Kernel<AttentionSum>>([]<class T>() -> Kernel<AttentionSum> { return sum<T>; })};
  return table;
}
}  // namespace pyformer
