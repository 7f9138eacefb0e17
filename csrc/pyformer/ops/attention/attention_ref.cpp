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
// Source: Milakov, Gimelshein 2018 (online softmax); Dao et al. 2022, algorithms 1 and 4.
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

// dot(x * factor, y)
template <class T>
static T chain_dot(const T* x, T factor, const T* y, int64_t n) {
  T total = T(0);
  for (int64_t start = 0; start < n; start += kChainLength) {
    T chain = T(0);
    for (int64_t d = start; d < n && d < start + kChainLength; ++d) chain = fma(x[d] * factor, y[d], chain);
    total = start ? total + chain : chain;
  }
  return total;
}

static bool bit(uint64_t bits, int64_t j) { return (bits >> j) & 1; }

// The attended keys of block for query (b, i, head), and their scores.
template <class T>
static uint64_t block_scores(const AttentionInput& in, int64_t b, int64_t i, int64_t head, int64_t block, T* s) {
  const int64_t start = mask_start(in, b, head, i, block);
  const uint64_t bits = mask_bits<T>(in, range_bits(key_range(in, b, i), block), start);
  const T* q = at<T>(in.q, in.q_strides, b, i, head);
  for (int64_t j = 0; j < kAttentionBlock; ++j) {
    if (!bit(bits, j)) continue;
    const T* k = at<T>(in.k, in.k_strides, b, block * kAttentionBlock + j, head / (in.heads / in.key_heads));
    s[j] = chain_dot(q, T(in.scale), k, in.head_dim);
    if (in.mask_added) s[j] = s[j] + static_cast<const T*>(in.mask_added)[start + j * in.mask_key];
  }
  return bits;
}

// What some keys give a row: o has D elements.
template <class T>
struct RowSums {
  T m, l;
  T* o;
};

template <class T>
static RowSums<T> range_sums(const AttentionForward& a, int64_t b, int64_t i, int64_t head, int64_t range, T* o) {
  const AttentionInput& in = a.in;
  const int64_t D = in.head_dim, end = (range + 1) * kAttentionKeyRange;
  T m = -kInfinity<T>;
  T lane[kLanes] = {};
  for (int64_t d = 0; d < D; ++d) o[d] = T(0);
  for (int64_t first = range * kAttentionKeyRange; first < in.keys && first < end; first += kAttentionBlock) {
    T s[kAttentionBlock];
    const uint64_t bits = block_scores(in, b, i, head, first / kAttentionBlock, s);
    if (!bits) continue;
    T highest[kLanes], sum[kLanes] = {};
    for (int64_t c = 0; c < kLanes; ++c) highest[c] = -kInfinity<T>;
    for (int64_t j = 0; j < kAttentionBlock; ++j)
      if (bit(bits, j)) highest[j % kLanes] = max(s[j], highest[j % kLanes]);
    const T raised = max(max_lanes(highest), m);
    const T base = raised == -kInfinity<T> ? T(0) : raised;
    const T alpha = exp_flush(m - base);
    for (int64_t j = 0; j < kAttentionBlock; ++j) {
      if (!bit(bits, j)) continue;
      s[j] = exp_flush(s[j] - base);
      sum[j % kLanes] = sum[j % kLanes] + s[j];
    }
    for (int64_t c = 0; c < kLanes; ++c) lane[c] = fma(lane[c], alpha, sum[c]);
    for (int64_t d = 0; d < D; ++d) {
      T chain = T(0);
      for (int64_t j = 0; j < kAttentionBlock; ++j) {
        if (!bit(bits, j)) continue;
        chain = fma(s[j], at<T>(in.v, in.v_strides, b, first + j, head / (in.heads / in.key_heads))[d], chain);
      }
      o[d] = fma(o[d], alpha, chain);
    }
    m = raised;
  }
  return {m, sum_lanes(lane), o};
}

// total is all zeros, with m = -inf, before the first range.
template <class T>
static void join_range(const RowSums<T>& range, int64_t D, RowSums<T>& total) {
  if (range.l == T(0)) return;
  if (total.l == T(0)) {
    total.m = range.m, total.l = range.l;
    for (int64_t d = 0; d < D; ++d) total.o[d] = range.o[d];
    return;
  }
  const T raised = max(range.m, total.m);
  const T base = raised == -kInfinity<T> ? T(0) : raised;
  const T alpha = exp_flush(total.m - base), beta = exp_flush(range.m - base);
  total.m = raised, total.l = fma(total.l, alpha, range.l * beta);
  for (int64_t d = 0; d < D; ++d) total.o[d] = fma(total.o[d], alpha, range.o[d] * beta);
}

// row = (b * H + head) * Tq + i
template <class T>
static T* partial_of(const AttentionForward& a, int64_t row, int64_t range) {
  return static_cast<T*>(a.partial) + (row * a.task_ranges + range) * (a.in.head_dim + 2);
}

// A row from its ranges: given(range) returns the sums of one.
template <class T, class Given>
static void join_row(const AttentionForward& a, int64_t b, int64_t head, int64_t i, int64_t ranges,
                     const Given& given) {
  const AttentionInput& in = a.in;
  const int64_t D = in.head_dim, row = (b * in.heads + head) * in.queries + i;
  T* out = at<T>(a.out, a.out_strides, b, i, head);
  RowSums<T> total = {-kInfinity<T>, T(0), out};
  for (int64_t range = 0; range < ranges; ++range) join_range(given(range), D, total);
  for (int64_t d = 0; d < D; ++d) out[d] = total.l == T(0) ? T(0) : out[d] / total.l;
  static_cast<T*>(a.row_max)[row] = total.m;
  static_cast<T*>(a.row_sum)[row] = total.l;
}

template <class T>
static void join(const AttentionForward& a, int64_t begin, int64_t end) {
  const int64_t heads = a.in.heads, queries = a.in.queries, D = a.in.head_dim;
  for (int64_t row = begin; row < end; ++row)
    join_row<T>(a, row / queries / heads, row / queries % heads, row % queries, a.task_ranges, [&](int64_t range) {
      T* o = partial_of<T>(a, row, range);
      return RowSums<T>{o[D], o[D + 1], o};
    });
}

template <class T>
static void forward(const AttentionForward& a, int64_t begin, int64_t end) {
  const AttentionInput& in = a.in;
  const int64_t group = in.heads / in.key_heads, rows = in.queries * group, D = in.head_dim;
  const int64_t head_tasks = (in.key_heads + a.task_heads - 1) / a.task_heads, tasks = in.batch * head_tasks;
  const int64_t ranges = (in.keys + kAttentionKeyRange - 1) / kAttentionKeyRange;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t b = item % tasks / head_tasks, first_head = item % tasks % head_tasks * a.task_heads;
    const int64_t first = a.task_ranges ? 0 : (attention_row_blocks(in) - 1 - item / tasks) * kAttentionRowBlock;
    for (int64_t key_head = first_head; key_head < in.key_heads && key_head < first_head + a.task_heads; ++key_head)
      for (int64_t r = first; r < rows && r < first + kAttentionRowBlock; ++r) {
        const int64_t i = r / group, head = key_head * group + r % group;
        const auto range_of = [&](int64_t range, T* o) { return range_sums<T>(a, b, i, head, range, o); };
        if (!a.task_ranges) {
          join_row<T>(a, b, head, i, ranges,
                      [&](int64_t range) { return range_of(range, static_cast<T*>(a.workspace)); });
          continue;
        }
        T* partial = partial_of<T>(a, (b * in.heads + head) * in.queries + i, item / tasks);
        const RowSums<T> sums = range_of(item / tasks, partial);
        partial[D] = sums.m, partial[D + 1] = sums.l;
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
// Rows with l = 0 take no part.
template <class T>
static void backward_block(const AttentionBackward& a, int64_t b, int64_t head, int64_t first, int64_t last,
                           int64_t block, T* dk_block, T* dv_block) {
  const AttentionInput& in = a.in;
  const int64_t D = in.head_dim, key_head = head / (in.heads / in.key_heads);
  uint64_t bits[kAttentionBlock];
  T inverse[kAttentionBlock];
  T e[kAttentionBlock][kAttentionBlock], ds[kAttentionBlock][kAttentionBlock];
  for (int64_t i = first; i < last; ++i) {
    const int64_t row = (b * in.heads + head) * in.queries + i, r = i - first;
    const T m = static_cast<const T*>(a.row_max)[row], l = static_cast<const T*>(a.row_sum)[row];
    bits[r] = block_scores(in, b, i, head, block, e[r]);
    if (l == T(0)) bits[r] = 0;
    if (!bits[r]) continue;
    const T base = m == -kInfinity<T> ? T(0) : m, factor = T(1) / l;
    inverse[r] = factor;
    const T* dout = at<T>(a.dout, a.dout_strides, b, i, head);
    const T* out = at<T>(a.out, a.out_strides, b, i, head);
    const T delta = row_dot<T>(D, [&](int64_t d) { return dout[d] * factor; }, [&](int64_t d) { return out[d]; });
    for (int64_t j = 0; j < kAttentionBlock; ++j) {
      if (!bit(bits[r], j)) continue;
      const T* v = at<T>(in.v, in.v_strides, b, block * kAttentionBlock + j, key_head);
      e[r][j] = exp_flush(e[r][j] - base);
      ds[r][j] = e[r][j] * (chain_dot(dout, factor, v, D) - delta);  // (2)
    }
    if (!a.dq) continue;
    T* dq = at<T>(a.dq, a.dq_strides, b, i, head);
    for (int64_t d = 0; d < D; ++d) {
      T chain = T(0);
      for (int64_t j = 0; j < kAttentionBlock; ++j)
        if (bit(bits[r], j))
          chain = fma(ds[r][j], at<T>(in.k, in.k_strides, b, block * kAttentionBlock + j, key_head)[d], chain);  // (4)
      dq[d] = dq[d] + chain;
    }
  }
  if (!a.dk) return;
  for (int64_t j = 0; j < kAttentionBlock; ++j) {
    bool any = false;
    for (int64_t r = 0; r < last - first; ++r) any = any || bit(bits[r], j);
    for (int64_t d = 0; any && d < D; ++d) {
      T chain_v = T(0), chain_k = T(0);
      for (int64_t r = 0; r < last - first; ++r) {
        if (!bit(bits[r], j)) continue;
        const T dout = at<T>(a.dout, a.dout_strides, b, first + r, head)[d] * inverse[r];
        const T q = at<T>(in.q, in.q_strides, b, first + r, head)[d] * T(in.scale);
        chain_v = fma(e[r][j], dout, chain_v);  // (1)
        chain_k = fma(ds[r][j], q, chain_k);    // (3)
      }
      dv_block[j * D + d] = dv_block[j * D + d] + chain_v;
      dk_block[j * D + d] = dk_block[j * D + d] + chain_k;
    }
  }
}

// Where a partial of dk or dv goes: to its place, or, where several are to be added, behind one another.
template <class T>
static T* partial_at(const AttentionInput& in, void* data, AttentionStrides s, int64_t b, int64_t head, int64_t chunk,
                     int64_t key) {
  const int64_t group = in.heads / in.key_heads, partials = attention_partials(in);
  if (partials == 1) return at<T>(data, s, b, key, head);
  const int64_t partial =
      (b * in.key_heads + head / group) * partials + head % group * attention_query_chunks(in) + chunk;
  return static_cast<T*>(data) + (partial * in.keys + key) * in.head_dim;
}

template <class T>
static void backward(const AttentionBackward& a, int64_t begin, int64_t end) {
  const AttentionInput& in = a.in;
  const int64_t D = in.head_dim, chunks = attention_query_chunks(in);
  T* dk_block = static_cast<T*>(a.workspace);
  T* dv_block = dk_block + kAttentionBlock * D;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t heads = in.batch * in.heads, chunk = chunks - 1 - item / heads;
    const int64_t b = item % heads / in.heads, head = item % in.heads;
    const int64_t start = chunk * kAttentionQueryChunk;
    const int64_t stop = start + kAttentionQueryChunk < in.queries ? start + kAttentionQueryChunk : in.queries;
    for (int64_t i = start; a.dq && i < stop; ++i)
      for (int64_t d = 0; d < D; ++d) at<T>(a.dq, a.dq_strides, b, i, head)[d] = T(0);
    for (int64_t block = 0; block * kAttentionBlock < in.keys; ++block) {
      for (int64_t e = 0; e < kAttentionBlock * D; ++e) dk_block[e] = dv_block[e] = T(0);
      for (int64_t i = start; i < stop; i += kAttentionBlock)
        backward_block<T>(a, b, head, i, i + kAttentionBlock < stop ? i + kAttentionBlock : stop, block, dk_block,
                          dv_block);
      for (int64_t j = 0; a.dk && j < kAttentionBlock && block * kAttentionBlock + j < in.keys; ++j)
        for (int64_t d = 0; d < D; ++d) {
          const int64_t key = block * kAttentionBlock + j;
          partial_at<T>(in, a.dk, a.dk_strides, b, head, chunk, key)[d] = dk_block[j * D + d];
          partial_at<T>(in, a.dv, a.dv_strides, b, head, chunk, key)[d] = dv_block[j * D + d];
        }
    }
    for (int64_t i = start; a.dq && i < stop; ++i)
      for (int64_t d = 0; d < D; ++d) {
        T* dq = at<T>(a.dq, a.dq_strides, b, i, head) + d;
        *dq = *dq * T(in.scale);
      }
  }
}

template <class T>
static void sum(const AttentionSum& a, int64_t begin, int64_t end) {
  const int64_t D = a.head_dim;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t row = item / a.keys, key = item % a.keys;  // row: batch and key head
    const T* partial = static_cast<const T*>(a.partial) + (row * a.partials * a.keys + key) * D;
    T* sum = at<T>(a.sum, a.sum_strides, row / a.key_heads, key, row % a.key_heads);
    for (int64_t d = 0; d < D; ++d) {
      T total = partial[d];
      for (int64_t n = 1; n < a.partials; ++n) total = total + partial[n * a.keys * D + d];
      sum[d] = total;
    }
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const AttentionKernels& attention_kernels<PF_ISA::kIsa>() {
  static constexpr AttentionKernels kernels = {{PF_ISA::forward<float>, PF_ISA::forward<double>},
                                               {PF_ISA::join<float>, PF_ISA::join<double>},
                                               {PF_ISA::backward<float>, PF_ISA::backward<double>},
                                               {PF_ISA::sum<float>, PF_ISA::sum<double>}};
  return kernels;
}
}  // namespace pyformer
