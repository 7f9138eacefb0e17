// Attention. Of 16-bit floats tensor cores take it, where their tiles fit (attention_sm80.h, on a Hopper
// attention_sm90.h). Else, plain kernels: 64 threads for each query, and for dk and dv 64 for each key, with the sums
// of attention_ref.cpp, for bfloat16 too as it takes float16's. Either way a sum's order depends on its keys and
// queries only.
#include "pyformer/cuda/rows.h"
#include "pyformer/ops/attention/attention_backward_sm90.h"
#include "pyformer/ops/attention/attention_forward_sm90.h"
#include "pyformer/ops/attention/attention_rows.h"

namespace pyformer::cuda {

constexpr int kWide = int(kAttentionBlock);  // threads, and keys or queries of a block

// One member of a block for each thread: the probability e, and what backward has beside it.
struct AttentionShared {
  float e[kWide], ds[kWide], inverse[kWide], l;
  bool attended[kWide];
  // Behind it are sums over members, an array after another.
  DEVICE float* sums() { return reinterpret_cast<float*>(this + 1); }
};

template <class T>
DEVICE auto head_of(const void* data, AttentionStrides s, int64_t b, int64_t t, int64_t head) {
  return in<T>(data) + (b * s.batch + t * s.token + head * s.head);
}

template <class T, class Value>
DEVICE void store_head(void* data, AttentionStrides s, bool wide, int64_t b, int64_t t, int64_t head, int64_t d,
                       Value value) {
  const int64_t at = b * s.batch + t * s.token + head * s.head + d;
  if (wide)
    static_cast<float*>(data)[at] = value;
  else
    to<T>(data)[at] = value;
}

// dot(x * factor, y)
template <class X, class Y>
DEVICE float chain_dot(const X& x, float factor, const Y& y, int64_t n) {
  float total = 0;
  for (int64_t start = 0; start < n; start += kChainLength) {
    float chain = 0;
    for (int64_t d = start; d < n && d < start + kChainLength; ++d) chain = fma(x[d] * factor, float(y[d]), chain);
    total = start ? total + chain : chain;
  }
  return total;
}

struct Score {
  bool attended;
  float value;
};
// Of query i of a head and key j.
template <class T>
DEVICE Score score_of(const AttentionInput& in, int64_t b, int64_t head, int64_t i, int64_t j) {
  const KeyRange range = key_range(in, b, i);
  if (j < range.begin || j >= range.end || j >= in.keys) return {false, 0};
  const int64_t at = mask_start(in, b, head, i, 0) + j * in.mask_key;
  if (in.mask_allowed && !in.mask_allowed[at]) return {false, 0};
  float added = 0;
  if (!in.mask_allowed && in.mask_added) {
    added = added_mask<T>(in, at);
    if (added == -kInfinity<float>) return {false, 0};
  }
  const auto q = head_of<T>(in.q, in.q_strides, b, i, head);
  const auto k = head_of<T>(in.k, in.k_strides, b, j, head / (in.heads / in.key_heads));
  const float score = chain_dot(q, float(in.scale), k, in.head_dim);
  return {true, in.mask_added ? score + added : score};
}

DEVICE bool any_attended(const AttentionShared& s) {
  bool any = false;
  for (int j = 0; j < kWide; ++j) any |= s.attended[j];
  return any;
}

// sum of a(j) * b(j) over the attended: one FMA chain
template <class X, class Y>
DEVICE float block_chain(const AttentionShared& s, const X& a, const Y& b) {
  float chain = 0;
  for (int j = 0; j < kWide; ++j)
    if (s.attended[j]) chain = fma(float(a(j)), float(b(j)), chain);
  return chain;
}

// A block's number to (batch row, head, query or key).
struct Place {
  int64_t b, head, i;
};
DEVICE Place place_of(int64_t heads, int64_t rows) {
  const int64_t row = blockIdx.x;
  return {row / rows / heads, row / rows % heads, row % rows};
}

// ---- forward
// ------------------------------------------------------------------------------------------------------------

template <class T>
__global__ void __launch_bounds__(kWide, 8) attention_forward(const AttentionForward a) {
  AttentionShared& s = shared_memory<AttentionShared>();
  const AttentionInput& in = a.in;
  const int tid = int(threadIdx.x);
  const int64_t Dv = in.value_dim;
  const Place p = place_of(in.heads, in.queries);
  float* const o = s.sums();      // of a range; each thread has its own columns
  float* const total_o = o + Dv;  // of all ranges so far
  float total_m = -kInfinity<float>, total_l = 0;
  for (int64_t range = 0; range < in.keys; range += kAttentionKeyRange) {
    float m = -kInfinity<float>, lane = 0;
    for (int64_t d = tid; d < Dv; d += kWide) o[d] = 0;
    for (int64_t first = range; first < in.keys && first < range + kAttentionKeyRange; first += kWide) {
      const Score score = score_of<T>(in, p.b, p.head, p.i, first + tid);
      s.attended[tid] = score.attended;
      s.e[tid] = score.value;
      __syncthreads();
      const bool any = any_attended(s);
      float raised = m;
      for (int j = 0; any && j < kWide; ++j)
        if (s.attended[j]) raised = max(s.e[j], raised);
      __syncthreads();
      if (!any) continue;
      const float base = base_of(raised), alpha = exp_flush(m - base);
      s.e[tid] = exp_flush(score.value - base);
      __syncthreads();
      float sum = 0;
      for (int j = tid; tid < kTeam && j < kWide; j += kTeam)
        if (s.attended[j]) sum = sum + s.e[j];
      lane = fma(lane, alpha, sum);
      const auto v = head_of<T>(in.v, in.v_strides, p.b, first, p.head / (in.heads / in.key_heads));
      for (int64_t d = tid; d < Dv; d += kWide) {
        const float chain =
            block_chain(s, [&](int j) { return s.e[j]; }, [&](int j) { return v[j * in.v_strides.token + d]; });
        o[d] = fma(o[d], alpha, chain);
      }
      m = raised;
      __syncthreads();
    }
    if (tid < kTeam) {
      const float l = sum_of_team(lane);
      if (tid == 0) s.l = l;
    }
    __syncthreads();
    const float l = s.l;
    __syncthreads();
    if (l == 0.0f) continue;
    const float raised = max(m, total_m), base = base_of(raised);
    const float alpha = exp_flush(total_m - base), beta = exp_flush(m - base);
    const bool is_first = total_l == 0.0f;
    for (int64_t d = tid; d < Dv; d += kWide) total_o[d] = is_first ? o[d] : fma(total_o[d], alpha, o[d] * beta);
    total_l = is_first ? l : fma(total_l, alpha, l * beta);
    total_m = is_first ? m : raised;
  }
  for (int64_t d = tid; d < Dv; d += kWide)
    store_head<T>(a.out, a.out_strides, a.wide, p.b, p.i, p.head, d, total_l == 0.0f ? 0.0f : total_o[d] / total_l);
  if (tid) return;
  static_cast<float*>(a.row_max)[blockIdx.x] = total_m;
  static_cast<float*>(a.row_sum)[blockIdx.x] = total_l;
}

template <class T>
static void forward(const AttentionForward& a) {
  const AttentionInput& in = a.in;
  if constexpr (sizeof(T) == 2) {
    if constexpr (kBuiltForSm90)
      if (has_wgmma() && forward_sm90_takes(a)) return forward_sm90<T>(a);
    if (Attend::takes(in, most_shared_bytes())) return forward_sm80<T>(a);
  }
  start(attention_forward<T>, in.batch * in.heads * in.queries, kWide,
        unsigned(sizeof(AttentionShared) + 2 * size_t(in.value_dim) * sizeof(float)), a);
}

// ---- backward
// -----------------------------------------------------------------------------------------------------------

// delta_i = dot(dout_i / l_i, out_i)
template <class T>
struct DeltaRow {
  using Args = Backward;
  template <class Team>
  static DEVICE void at(const Args& backward, Team& team, int64_t row) {
    const AttentionBackward& a = backward.args;
    const AttentionInput& in = a.in;
    const int64_t i = row % in.queries, head = row / in.queries % in.heads, b = row / in.queries / in.heads;
    const float l = static_cast<const float*>(a.row_sum)[row], factor = 1.0f / l;
    const auto dout = head_of<T>(a.dout, a.dout_strides, b, i, head);
    const auto out = head_of<T>(a.out, a.out_strides, b, i, head);
    const auto wide_out = head_of<float>(a.out, a.out_strides, b, i, head);
    const float delta = row_dot(
        team, in.value_dim, [&](int64_t d) { return dout[d] * factor; },
        [&](int64_t d) { return a.wide ? wide_out[d] : float(out[d]); });
    if (team.is_first()) backward.delta[row] = delta;
  }
};

// e, ds and 1 / l of query i and key j, as this thread's member.
template <class T>
DEVICE void fill_member(AttentionShared& s, const Backward& backward, int64_t b, int64_t head, int64_t i, int64_t j) {
  const AttentionBackward& a = backward.args;
  const AttentionInput& in = a.in;
  const int tid = int(threadIdx.x);
  s.attended[tid] = false;
  if (i >= in.queries || j >= in.keys) return;
  const int64_t row = (b * in.heads + head) * in.queries + i;
  const float m = static_cast<const float*>(a.row_max)[row], l = static_cast<const float*>(a.row_sum)[row];
  if (l == 0.0f) return;
  const Score score = score_of<T>(in, b, head, i, j);
  if (!score.attended) return;
  const float factor = 1.0f / l, e = exp_flush(score.value - base_of(m));
  const auto dout = head_of<T>(a.dout, a.dout_strides, b, i, head);
  const auto v = head_of<T>(in.v, in.v_strides, b, j, head / (in.heads / in.key_heads));
  s.attended[tid] = true;
  s.e[tid] = e;
  s.ds[tid] = e * (chain_dot(dout, factor, v, in.value_dim) - backward.delta[row]);
  s.inverse[tid] = factor;
}

template <class T>
__global__ void __launch_bounds__(kWide, 8) attention_dq(const Backward backward) {
  AttentionShared& s = shared_memory<AttentionShared>();
  const AttentionBackward& a = backward.args;
  const AttentionInput& in = a.in;
  const int tid = int(threadIdx.x);
  const Place p = place_of(in.heads, in.queries);
  float* const dq = s.sums();
  for (int64_t d = tid; d < in.head_dim; d += kWide) dq[d] = 0;
  for (int64_t first = 0; first < in.keys; first += kWide) {
    fill_member<T>(s, backward, p.b, p.head, p.i, first + tid);
    __syncthreads();
    const auto k = head_of<T>(in.k, in.k_strides, p.b, first, p.head / (in.heads / in.key_heads));
    if (any_attended(s))
      for (int64_t d = tid; d < in.head_dim; d += kWide)
        dq[d] = dq[d] +
                block_chain(s, [&](int j) { return s.ds[j]; }, [&](int j) { return k[j * in.k_strides.token + d]; });
    __syncthreads();
  }
  for (int64_t d = tid; d < in.head_dim; d += kWide)
    store_head<T>(a.dq, a.dq_strides, a.wide, p.b, p.i, p.head, d, dq[d] * float(in.scale));
}

// Adds a block of 64 queries of one head to dk and dv of key p.i.
template <class T>
DEVICE void add_queries(AttentionShared& s, const Backward& backward, Place p, int64_t head, int64_t first, float* dk,
                        float* dv) {
  const AttentionBackward& a = backward.args;
  const AttentionInput& in = a.in;
  const int tid = int(threadIdx.x);
  fill_member<T>(s, backward, p.b, head, first + tid, p.i);
  __syncthreads();
  const auto q = head_of<T>(in.q, in.q_strides, p.b, first, head);
  const auto dout = head_of<T>(a.dout, a.dout_strides, p.b, first, head);
  if (any_attended(s)) {
    for (int64_t d = tid; d < in.value_dim; d += kWide)
      dv[d] = dv[d] + block_chain(
                          s, [&](int r) { return s.e[r]; },
                          [&](int r) { return dout[r * a.dout_strides.token + d] * s.inverse[r]; });
    for (int64_t d = tid; d < in.head_dim; d += kWide)
      dk[d] = dk[d] + block_chain(
                          s, [&](int r) { return s.ds[r]; },
                          [&](int r) { return q[r * in.q_strides.token + d] * float(in.scale); });
  }
  __syncthreads();
}

template <class T>
__global__ void __launch_bounds__(kWide, 8) attention_dk_dv(const Backward backward) {
  AttentionShared& s = shared_memory<AttentionShared>();
  const AttentionBackward& a = backward.args;
  const AttentionInput& in = a.in;
  const Place p = place_of(in.key_heads, in.keys);
  const int64_t group = in.heads / in.key_heads, D = in.head_dim, Dv = in.value_dim;
  const int tid = int(threadIdx.x);
  float* const dk = s.sums();  // of one partial: a head and 2,048 queries
  float* const dv = dk + D;
  float* const total = dv + Dv;  // both, of all partials so far
  for (int64_t partial = 0; partial < group; ++partial)
    for (int64_t chunk = 0; chunk == 0 || chunk < in.queries; chunk += kAttentionQueryChunk) {
      for (int64_t d = tid; d < D; d += kWide) dk[d] = 0;
      for (int64_t d = tid; d < Dv; d += kWide) dv[d] = 0;
      for (int64_t first = chunk; first < in.queries && first < chunk + kAttentionQueryChunk; first += kWide)
        add_queries<T>(s, backward, p, p.head * group + partial, first, dk, dv);
      const bool is_first = partial == 0 && chunk == 0;
      for (int64_t d = tid; d < D; d += kWide) total[d] = is_first ? dk[d] : total[d] + dk[d];
      for (int64_t d = tid; d < Dv; d += kWide) total[D + d] = is_first ? dv[d] : total[D + d] + dv[d];
    }
  for (int64_t d = tid; d < D; d += kWide) store_head<T>(a.dk, a.dk_strides, a.wide, p.b, p.i, p.head, d, total[d]);
  for (int64_t d = tid; d < Dv; d += kWide)
    store_head<T>(a.dv, a.dv_strides, a.wide, p.b, p.i, p.head, d, total[D + d]);
}

template <class T>
static void backward(const AttentionBackward& a) {
  const AttentionInput& in = a.in;
  const int64_t rows = in.batch * in.heads * in.queries;
  const Scratch delta(rows * int64_t(sizeof(float)));
  const Backward args = {a, static_cast<float*>(delta.data())};
  const auto shared_bytes = [](int64_t sums) {
    return unsigned(sizeof(AttentionShared) + size_t(sums) * sizeof(float));
  };
  start_rows<DeltaRow<T>, float>(args, rows, in.value_dim);
  if constexpr (sizeof(T) == 2) {
    if constexpr (kBuiltForSm90)
      if (has_wgmma() && backward_sm90_takes(a)) return backward_sm90<T>(args);
    if (Attend::takes(in, most_shared_bytes())) return backward_sm80<T>(args);
  }
  if (a.dq) start(attention_dq<T>, rows, kWide, shared_bytes(in.head_dim), args);
  if (a.dk)
    start(attention_dk_dv<T>, in.batch * in.key_heads * in.keys, kWide, shared_bytes(2 * (in.head_dim + in.value_dim)),
          args);
}

template <>
const AttentionTable& cuda_table<AttentionTable>() {
  static constexpr AttentionTable table = {
      for_cuda_floats<Program<AttentionForward>>([]<class T>() -> Program<AttentionForward> { return forward<T>; }),
      for_cuda_floats<Program<AttentionBackward>>([]<class T>() -> Program<AttentionBackward> { return backward<T>; })};
  return table;
}

}  // namespace pyformer::cuda
