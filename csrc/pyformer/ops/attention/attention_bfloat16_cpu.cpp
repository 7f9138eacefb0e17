// attention of bfloat16, vector code for one instruction set around the products of another or the same, which may be
// those of a matrix unit. Formulas and orders of sums are those of attention_ref.cpp.
//
// A product of blocks is a matter of panels (bfloat16_product_kernels.h): what is multiplied often is packed once.
// Terms that a row does not attend to are multiplied all the same, as +0 with a finite number. That changes no bits: it
// can turn the sign of a zero within a block of 32 terms, the sum of which is then added to one that is not -0. Where
// such a number is infinite or NaN, the sums are taken again without it (attended_sum).
#include "pyformer/base/bfloat16_dot.h"
#include "pyformer/ops/attention/attention_bfloat16_space.h"
#include "pyformer/ops/attention/attention_task.h"

#if defined(__AVX2__)

namespace pyformer::PF_ISA {

constexpr int64_t kMostStripRows = 32;

// ---- products -------------------------------------------------------------------------------------------------

struct Products : AttentionProducts {
  Products(const BFloat16ProductTable& t, bool rounds)
      : AttentionProducts(t),
        rounds_by_instruction(rounds),
        begin(t.begin[DType::bfloat16]),
        end(t.end[DType::bfloat16]),
        tile(t.tile[DType::bfloat16]),
        pack(t.pack[DType::bfloat16]) {}

  bool rounds_by_instruction;
  void (*begin)();
  void (*end)();
  BFloat16Tile tile;
  Kernel<BFloat16Pack> pack;

  // Packs rows, or columns, of k elements as panels with room for k_room elements.
  void pack_rows(BFloat16Vectors v, int64_t k, int64_t k_room, void* to) const {
    pack({v, k, true, to, steps(k_room) * row_step}, 0, row_panels(v.count));
  }
  void pack_cols(BFloat16Vectors v, int64_t k, int64_t k_room, void* to) const {
    pack({v, k, false, to, steps(k_room) * col_step}, 0, col_panels(v.count));
  }

  // c = a b, for m rows and n columns, over steps [first, last) of panels that have room for k_room.
  struct Range {
    int64_t first, last, k_room;
  };
  void multiply(const char* a, Range a_steps, int64_t m, const char* b, Range b_steps, int64_t n, float* c,
                int64_t c_stride) const {
    const int64_t a_panel = steps(a_steps.k_room) * row_step, b_panel = steps(b_steps.k_room) * col_step;
    a += a_steps.first * row_step, b += b_steps.first * col_step;
    for (int64_t j = 0; j < n; j += cols, b += b_panel)
      for (int64_t i = 0; i < m; i += rows)
        tile(a + i / rows * a_panel, b, a_steps.last - a_steps.first, c + i * c_stride + j, c_stride,
             least(rows, m - i), least(cols, n - j), true, true);
  }
};

// The sum of the terms of a block whose bits are set, added as in bfloat16_dot.h.
template <class X, class Y>
static float attended_sum(uint64_t bits, const X& x, const Y& y) {
  const auto set = [&](int64_t j) { return bool((bits >> j) & 1); };
  return bfloat16_dot(
      kBlock, [&](int64_t j) { return set(j) ? to_float(x(j)) : 0.0f; },
      [&](int64_t j) { return set(j) ? to_float(y(j)) : 0.0f; });
}

// Which of n rows of D elements hold an infinity or NaN.
static uint64_t not_finite(const BFloat16* x, int64_t stride, int64_t n, int64_t D) {
  constexpr int64_t W = Vec<float>::width;
  uint64_t found = 0;
  for (int64_t i = 0; i < n; ++i) {
    Vec<float> sum = Vec<float>::zero();
    int64_t d = 0;
    const auto add = [&](Vec<float> v) { sum = sum + (v - v); };
    for (; d + W <= D; d += W) add(load_widened(x + i * stride + d));
    if (d < D) add(load_widened(x + i * stride + d, D - d));
    found |= uint64_t(any(sum != sum)) << i;
  }
  return found;
}

static PF_INLINE uint64_t first_keys(int64_t n) { return ~uint64_t(0) >> (kBlock - n); }

// Thirty-two numbers stored as to_bfloat16 rounds them, NaN as some NaN; x becomes what they were rounded to.
// VCVTNE2PS2BF16 takes denormals for zeros, of which the greatest round up to a number that products see.
template <bool by_instruction>
static PF_INLINE void store_rounded(Lanes<float> (&x)[2], BFloat16* p) {
#if defined(__AVX512F__)
  constexpr int kDenormal = 0x20;
  if (by_instruction &&
      (_mm512_fpclass_ps_mask(x[0].v[0].r, kDenormal) | _mm512_fpclass_ps_mask(x[1].v[0].r, kDenormal)) == 0) {
    __m512i both;  // by its name, as this file is compiled for CPUs without it
    asm("vcvtne2ps2bf16 %1, %2, %0" : "=v"(both) : "v"(x[0].v[0].r), "v"(x[1].v[0].r));
    _mm512_storeu_si512(p, both);
    x[0].v[0] = widened(_mm512_castsi512_si256(both)), x[1].v[0] = widened(_mm512_extracti64x4_epi64(both, 1));
    return;
  }
  const auto up = [](Vec<float> v) {
    const __m512i bits = _mm512_castps_si512(v.r);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    return _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(v.r, v.r, _CMP_UNORD_Q), _mm512_set1_epi32(0x7fc00000));
  };
  const auto wide = [](__m512i v) {
    return Vec<float>{_mm512_castsi512_ps(_mm512_and_si512(v, _mm512_set1_epi32(int(0xffff0000))))};
  };
  alignas(64) static constexpr uint16_t kUpperHalves[32] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21,
                                                            23, 25, 27, 29, 31, 33, 35, 37, 39, 41, 43,
                                                            45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
  const __m512i a = up(x[0].v[0]), b = up(x[1].v[0]);
  _mm512_storeu_si512(p, _mm512_permutex2var_epi16(a, _mm512_load_si512(kUpperHalves), b));
  x[0].v[0] = wide(a), x[1].v[0] = wide(b);
#else
  constexpr int64_t W = Vec<float>::width;
#pragma GCC unroll 2
  for (int64_t half = 0; half < 2; ++half)
#pragma GCC unroll 2
    for (int64_t i = 0; i < Lanes<float>::count; ++i) {
      store_rounded(x[half].v[i], p + half * kLanes + i * W);
      x[half].v[i] = load_widened(p + half * kLanes + i * W);
    }
#endif
}

// ---- forward --------------------------------------------------------------------------------------------------

struct BFloat16ForwardTask : RowsTask<float> {
  BFloat16ForwardTask(const AttentionForward& a, const Products& products, const AttentionBFloat16ForwardSpace& s)
      : RowsTask<float>(a.in), u(products), space(s) {
    char* const at = static_cast<char*>(a.workspace);
    queries = reinterpret_cast<BFloat16*>(at + s.queries), p = reinterpret_cast<BFloat16*>(at + s.p);
    q = at + s.q, k = at + s.k, v = at + s.v, p_panels = at + s.p_panels;
    scores = reinterpret_cast<float*>(at + s.scores), sums = reinterpret_cast<float*>(at + s.sums);
    o = reinterpret_cast<float*>(at + s.o), total = reinterpret_cast<float*>(at + s.total);
    l = reinterpret_cast<float*>(at + s.l), m = reinterpret_cast<float*>(at + s.m);
    total_m = reinterpret_cast<float*>(at + s.total_m), total_l = reinterpret_cast<float*>(at + s.total_l);
  }

  const Products& u;
  const AttentionBFloat16ForwardSpace& space;
  BFloat16 *queries, *p;
  char *q, *k, *v, *p_panels;
  float *scores, *sums;
};

static void pack_queries(const BFloat16ForwardTask& task) {
  const int64_t D = task.in.head_dim;
  for (int64_t h = 0; h < task.heads; ++h) {
    for (int64_t r = 0; r < task.head_rows; ++r) {
      if (r + kRowsAhead < task.head_rows) fetch_row(query_row<BFloat16>(task, h * task.head_rows + r + kRowsAhead), D);
      __builtin_memcpy(task.queries + r * D, query_row<BFloat16>(task, h * task.head_rows + r), size_t(D) * 2);
    }
    task.u.pack_rows({task.queries, task.head_rows, D, 1}, D, D, task.q + h * task.space.q_head_bytes);
  }
}

// The columns that any row wants, in whole steps of a product.
static PF_INLINE Columns wanted_steps(uint64_t any) {
  constexpr int64_t step = kBFloat16Block;
  return {__builtin_ctzll(any) / step * step, (64 - __builtin_clzll(any) + step - 1) / step * step};
}

// Are a strip's finished scores still to be multiplied by the scale, as they are read?
static PF_INLINE bool scales_when_read(const AttentionInput& in) {
  const float scale = float(in.scale);
  return !in.mask_added && scale > 0.0f && scale < kInfinity<float>;  // -inf stays, and the order of scores
}

// Finishes the scores of a row. Returns the highest, scaled.
static PF_INLINE float finish_row(const AttentionInput& in, uint64_t allow, Columns columns, int64_t mask_row,
                                  float* s) {
  const uint64_t wanted = first_keys(columns.end) & ~uint64_t(0) << columns.begin;
  const bool scales = scales_when_read(in);
  if (allow != wanted || !scales) {
    const Lanes<float> scale = Lanes<float>::broadcast(scales ? 1.0f : float(in.scale));
    for (int64_t c = columns.begin; c < columns.end; c += kLanes) {
      Lanes<float> x = Lanes<float>::load(s + c) * scale;
      for (int64_t i = 0; i < Lanes<float>::count; ++i) x.v[i] = keep(allow >> (c + i * Vec<float>::width), x.v[i]);
      x.store(s + c);
    }
  }
  if (in.mask_added) finish_scores<BFloat16>(in, allow, columns, mask_row, s);
  return scales ? row_highest(s, columns) * float(in.scale) : row_highest(s, columns);
}

// p becomes exp(scale s - base) rounded; lanes of l take the sums of what it was rounded to.
template <bool by_instruction>
static PF_INLINE void exponentiate(const float* s, Columns columns, float scale, float base, float alpha, float* l,
                                   BFloat16* p) {
  const Lanes<float> bases = Lanes<float>::broadcast(base), scales = Lanes<float>::broadcast(scale);
  Lanes<float> sum = Lanes<float>::zero();
  for (int64_t c = columns.begin; c < columns.end; c += 2 * kLanes) {
    Lanes<float> x[2];
#pragma GCC unroll 2
    for (int64_t i = 0; i < 2; ++i) x[i] = exp_flush(Lanes<float>::load(s + c + i * kLanes) * scales - bases);
    store_rounded<by_instruction>(x, p + c);
    sum = sum + x[0];
    sum = sum + x[1];
  }
  fma(Lanes<float>::load(l), Lanes<float>::broadcast(alpha), sum).store(l);
}

// p of n strip rows, the first of them row `first` of the task.
template <bool by_instruction>
static void exponentiate_rows(const BFloat16ForwardTask& task, int64_t first, int64_t n, const uint64_t* allow,
                              Columns columns, const float* base, const float* alpha) {
  const float scale = scales_when_read(task.in) ? float(task.in.scale) : 1.0f;
  for (int64_t i = 0; i < n; ++i) {
    BFloat16* const p = task.p + i * kBlock;
    if (allow[i])
      exponentiate<by_instruction>(task.scores + i * kBlock, columns, scale, base[i], alpha[i],
                                   task.l + (first + i) * kLanes, p);
    else
      __builtin_memset(p, 0, kBlock * sizeof(BFloat16));
  }
}

// Takes v's infinities and NaN out of the sums of rows that do not attend to them.
static void leave_out_values(const BFloat16ForwardTask& task, int64_t n, const uint64_t* allow, const BFloat16* v,
                             int64_t keys) {
  const int64_t Dv = task.in.value_dim, stride = task.in.v_strides.token;
  const uint64_t bad = not_finite(v, stride, keys, Dv);
  for (int64_t i = 0; bad && i < n; ++i) {
    if (!(bad & ~allow[i])) continue;
    const BFloat16* p = task.p + i * kBlock;
    for (int64_t d = 0; d < Dv; ++d)
      task.sums[i * task.space.sums_stride + d] =
          attended_sum(allow[i], [&](int64_t j) { return p[j]; }, [&](int64_t j) { return v[j * stride + d]; });
  }
}

// What the block's keys add to strip rows [r, r + n) of the h-th key head.
static void forward_strip(const BFloat16ForwardTask& task, int64_t h, int64_t r, int64_t n, int64_t block,
                          const BFloat16* v, int64_t keys) {
  constexpr int64_t W = Vec<float>::width;
  const AttentionInput& in = task.in;
  const Products& u = task.u;
  const int64_t D = in.head_dim, Dv = in.value_dim, first = h * task.head_rows + r;
  uint64_t allow[kMostStripRows], all = ~uint64_t(0);
  int64_t mask_row[kMostStripRows];
  float highest[kMostStripRows + 16], base[kMostStripRows + 16], alpha[kMostStripRows + 16];
  const uint64_t any = allowed_keys<BFloat16>(task, first, n, block, allow, mask_row);
  if (!any) return;
  const Columns columns = wanted_steps(any);
  const Products::Range along_d = {0, u.steps(D), D};
  const Products::Range along_keys = {columns.begin / kBFloat16Block, columns.end / kBFloat16Block, kBlock};
  u.multiply(task.q + h * task.space.q_head_bytes + r / u.rows * u.steps(D) * u.row_step, along_d, n,
             task.k + columns.begin / u.cols * u.steps(D) * u.col_step, along_d, columns.end - columns.begin,
             task.scores + columns.begin, kBlock);
  for (int64_t i = 0; i < n; ++i) {
    highest[i] = finish_row(in, allow[i], columns, mask_row[i], task.scores + i * kBlock);
    all &= allow[i];
  }
  raise_maxima(task.m + first, n, highest, base, alpha);
  const auto exponentials = u.rounds_by_instruction ? exponentiate_rows<true> : exponentiate_rows<false>;
  exponentials(task, first, n, allow, columns, base, alpha);
  u.pack_rows({task.p, n, kBlock, 1}, columns.end, kBlock, task.p_panels);
  u.multiply(task.p_panels, along_keys, n, task.v, along_keys, Dv, task.sums, task.space.sums_stride);
  if (all != first_keys(keys)) leave_out_values(task, n, allow, v, keys);
  for (int64_t i = 0; i < n; ++i) {
    if (!allow[i]) continue;
    const Vec<float> alphas = Vec<float>::broadcast(alpha[i]);
    const float* sums = task.sums + i * task.space.sums_stride;
    float* o = task.o + (first + i) * padded<float>(Dv);
    for (int64_t d = 0; d < Dv; d += W) fma(Vec<float>::load(o + d), alphas, Vec<float>::load(sums + d)).store(o + d);
  }
}

// What a block's keys add to all rows of the task. The next block is fetched between strips of rows.
static void forward_block(const BFloat16ForwardTask& task, int64_t block) {
  const AttentionInput& in = task.in;
  const int64_t key = block * kBlock, n = least(kBlock, task.keys.end - key);
  const int64_t next = task.heads > 1 ? 0 : least(kBlock, task.keys.end - key - n);
  if (task.heads > 1) {
    const auto touch = [&](const void* data, AttentionStrides strides, int64_t width) {
      touch_rows(at<BFloat16>(data, strides, task.b, key, task.first_head), strides.token, n, task.heads * width);
    };
    touch(in.k, in.k_strides, in.head_dim);
    touch(in.v, in.v_strides, in.value_dim);
  }
  for (int64_t h = 0; h < task.heads; ++h) {
    const BFloat16* k = at<BFloat16>(in.k, in.k_strides, task.b, key, task.first_head + h);
    const BFloat16* v = at<BFloat16>(in.v, in.v_strides, task.b, key, task.first_head + h);
    task.u.pack_cols({k, n, in.k_strides.token, 1}, in.head_dim, in.head_dim, task.k);
    task.u.pack_cols({v, in.value_dim, 1, in.v_strides.token}, n, kBlock, task.v);
    const int64_t k_stride = in.k_strides.token, v_stride = in.v_strides.token;
    for (int64_t r = 0; r < task.head_rows; r += task.u.strip_rows()) {
      const int64_t rows = least(task.u.strip_rows(), task.head_rows - r);
      const int64_t from = n + next * r / task.head_rows, to = n + next * (r + rows) / task.head_rows;
      prefetch_rows(k + from * k_stride, k_stride, to - from, in.head_dim);
      prefetch_rows(v + from * v_stride, v_stride, to - from, in.value_dim);
      forward_strip(task, h, r, rows, block, v, n);
    }
  }
}

void bfloat16_forward(const AttentionForward& a, int64_t begin, int64_t end) {
  const Products u(*a.products, a.rounds_by_instruction);
  const AttentionBFloat16ForwardSpace space(a.in, a.task_heads, u);
  BFloat16ForwardTask task(a, u, space);
  u.begin();
  for (int64_t item = begin; item < end; ++item) {
    const int64_t only = start_task(a, item, task);
    pack_queries(task);
    for_key_ranges(task, only, [&](int64_t from, int64_t to) {
      for (int64_t block = from / kBlock; block * kBlock < to; ++block) forward_block(task, block);
    });
    if (a.task_ranges)
      store_partial(a, task, only);
    else
      a.wide ? store_result<float>(a, task) : store_result<BFloat16>(a, task);
  }
  u.end();
}

void bfloat16_join(const AttentionForward& a, int64_t begin, int64_t end) {
  a.wide ? join_ranges<float, float>(a, begin, end) : join_ranges<BFloat16, float>(a, begin, end);
}

// ---- backward -------------------------------------------------------------------------------------------------

struct BFloat16BackwardTask {
  BFloat16BackwardTask(const AttentionBackward& args, const Products& products, const AttentionBFloat16BackwardSpace& s)
      : a(args), in(args.in), u(products), space(s) {
    char* const at = static_cast<char*>(a.workspace);
    q = at + s.q, dout = at + s.dout, q_across = at + s.q_across, dout_across = at + s.dout_across;
    k = at + s.k, v = at + s.v, k_across = at + s.k_across;
    ds_rows = at + s.ds_rows, w_cols = at + s.w_cols, ds_cols = at + s.ds_cols;
    dq = reinterpret_cast<float*>(at + s.dq), dk = reinterpret_cast<float*>(at + s.dk);
    dv = reinterpret_cast<float*>(at + s.dv), sums = reinterpret_cast<float*>(at + s.sums);
    base = reinterpret_cast<float*>(at + s.base), inverse = reinterpret_cast<float*>(at + s.inverse);
    delta = reinterpret_cast<float*>(at + s.delta), row = reinterpret_cast<float*>(at + s.row);
    scores = reinterpret_cast<float*>(at + s.scores), dp = reinterpret_cast<float*>(at + s.dp);
    w = reinterpret_cast<BFloat16*>(at + s.w), ds = reinterpret_cast<BFloat16*>(at + s.ds);
    q_bad = reinterpret_cast<uint64_t*>(at + s.q_bad), dout_bad = reinterpret_cast<uint64_t*>(at + s.dout_bad);
  }

  const AttentionBackward& a;
  const AttentionInput& in;
  const Products& u;
  const AttentionBFloat16BackwardSpace& space;
  int64_t b, head, key_head, chunk, start, stop;
  char *q, *dout, *q_across, *dout_across, *k, *v, *k_across, *ds_rows, *w_cols, *ds_cols;
  float *dq, *dk, *dv, *sums, *base, *inverse, *delta, *row, *scores, *dp;
  BFloat16 *w, *ds;
  uint64_t *q_bad, *dout_bad, k_bad;
  KeyRange block_range[kAttentionQueryChunk / kBlock];

  const BFloat16* query(int64_t r) const { return at<BFloat16>(in.q, in.q_strides, b, start + r, head); }
  const BFloat16* gradient(int64_t r) const { return at<BFloat16>(a.dout, a.dout_strides, b, start + r, head); }
};

template <class S>
static void widen_row(const S* from, int64_t D, float factor, float* to) {
  constexpr int64_t W = Vec<float>::width;
  for (int64_t d = 0; d < D; d += W)
    (load_widened(from + d, least(W, D - d)) * Vec<float>::broadcast(factor)).store(to + d);
}
template <class Out>
static void store_row(const float* from, int64_t D, float factor, Out* to) {
  constexpr int64_t W = Vec<float>::width;
  for (int64_t d = 0; d < D; d += W)
    store_rounded(Vec<float>::load(from + d) * Vec<float>::broadcast(factor), to + d, least(W, D - d));
}

// base, 1 / l and delta of query r of the chunk, and the keys its block attends to at most.
static void prepare_row(BFloat16BackwardTask& task, int64_t r) {
  const AttentionBackward& a = task.a;
  const int64_t Dv = task.in.value_dim, i = task.start + r,
                row = (task.b * task.in.heads + task.head) * task.in.queries + i;
  const float m = static_cast<const float*>(a.row_max)[row], l = static_cast<const float*>(a.row_sum)[row];
  task.base[r] = m == -kInfinity<float> ? 0.0f : m;
  task.inverse[r] = l == 0.0f ? 0.0f : 1.0f / l;  // 0: the row takes no part
  if (i + kRowsAhead < task.stop) {
    fetch_row(task.query(r + kRowsAhead), task.in.head_dim);
    fetch_row(task.gradient(r + kRowsAhead), Dv);
    if (a.wide)
      fetch_row(at<float>(a.out, a.out_strides, task.b, i + kRowsAhead, task.head), Dv);
    else
      fetch_row(at<BFloat16>(a.out, a.out_strides, task.b, i + kRowsAhead, task.head), Dv);
  }
  float* const out = task.row + attention_padded(Dv);
  widen_row(task.gradient(r), Dv, task.inverse[r], task.row);
  a.wide ? widen_row(at<float>(a.out, a.out_strides, task.b, i, task.head), Dv, 1.0f, out)
         : widen_row(at<BFloat16>(a.out, a.out_strides, task.b, i, task.head), Dv, 1.0f, out);
  task.delta[r] = row_dot_lanes(task.row, out, Dv);
  KeyRange& range = task.block_range[r / kBlock];
  if (r % kBlock == 0) range = {task.in.keys, 0};
  const KeyRange mine = key_range(task.in, task.b, i);
  if (mine.begin >= mine.end) return;
  range.begin = least(range.begin, mine.begin);
  range.end = mine.end > range.end ? mine.end : range.end;
}

static void prepare_chunk(BFloat16BackwardTask& task) {
  const AttentionInput& in = task.in;
  const AttentionBFloat16BackwardSpace& s = task.space;
  const int64_t D = in.head_dim, Dv = in.value_dim, queries = task.stop - task.start;
  for (int64_t r = 0; r < queries; ++r) prepare_row(task, r);
  for (int64_t e = 0; e < queries * s.dq_stride; ++e) task.dq[e] = 0.0f;
  for (int64_t block = 0; block * kBlock < queries; ++block) {
    const int64_t n = least(kBlock, queries - block * kBlock);
    const int64_t q_stride = in.q_strides.token, dout_stride = task.a.dout_strides.token;
    const BFloat16 *q = task.query(block * kBlock), *dout = task.gradient(block * kBlock);
    task.q_bad[block] = not_finite(q, q_stride, n, D);
    task.dout_bad[block] = not_finite(dout, dout_stride, n, Dv);
    task.u.pack_rows({q, n, q_stride, 1}, D, D, task.q + block * s.q_bytes);
    task.u.pack_rows({dout, n, dout_stride, 1}, Dv, Dv, task.dout + block * s.dout_bytes);
    if (!task.a.dk) continue;
    task.u.pack_rows({q, D, 1, q_stride}, n, kBlock, task.q_across + block * s.q_across_bytes);
    task.u.pack_rows({dout, Dv, 1, dout_stride}, n, kBlock, task.dout_across + block * s.dout_across_bytes);
  }
}

static void pack_keys(BFloat16BackwardTask& task, int64_t key, int64_t n) {
  const AttentionInput& in = task.in;
  const BFloat16* k = at<BFloat16>(in.k, in.k_strides, task.b, key, task.key_head);
  const BFloat16* v = at<BFloat16>(in.v, in.v_strides, task.b, key, task.key_head);
  task.u.pack_cols({k, n, in.k_strides.token, 1}, in.head_dim, in.head_dim, task.k);
  task.u.pack_cols({v, n, in.v_strides.token, 1}, in.value_dim, in.value_dim, task.v);
  task.k_bad = not_finite(k, in.k_strides.token, n, in.head_dim);
  if (task.a.dq) task.u.pack_cols({k, in.head_dim, 1, in.k_strides.token}, n, kBlock, task.k_across);
}

// Lanes of x whose bits are set, zeros in the others.
static PF_INLINE Lanes<float> keep_or_zero(uint64_t bits, Lanes<float> x) {
#if defined(__AVX512F__)
  x.v[0].r = _mm512_maskz_mov_ps(__mmask16(bits), x.v[0].r);
#else
  for (int64_t i = 0; i < kLanes; ++i)
    if (!((bits >> i) & 1)) x.v[i / Vec<float>::width].r[i % Vec<float>::width] = 0.0f;
#endif
  return x;
}

// A block of queries and a block of keys, some of which they attend to. A panel of rows computes the columns that any
// row of the panel attends to.
struct Pair {
  int64_t r, n, block, keys;  // the first query in the chunk, how many there are; the block of keys, how many
  uint64_t allow[kBlock];
  int64_t mask_row[kBlock];
};

// w and ds of query r of the chunk, row i of the block, from products of q and k and of dout and v.
template <bool by_instruction>
static PF_INLINE void exponentials(const BFloat16BackwardTask& task, int64_t r, int64_t i, uint64_t allow,
                                   Columns columns, int64_t mask_row) {
  constexpr int64_t W = Vec<float>::width;
  BFloat16 *const w = task.w + i * kBlock, *const ds = task.ds + i * kBlock;
  if (!allow || columns.end - columns.begin < kBlock) {
    __builtin_memset(w, 0, kBlock * sizeof(BFloat16));
    __builtin_memset(ds, 0, kBlock * sizeof(BFloat16));
    if (!allow) return;
  }
  float* const s = task.scores + i * kBlock;
  const float* const dp = task.dp + i * kBlock;
  float scale = float(task.in.scale);
  if (task.in.mask_added) {
    for (int64_t c = columns.begin; c < columns.end; c += W)
      (Vec<float>::load(s + c) * Vec<float>::broadcast(scale)).store(s + c);
    finish_scores<BFloat16>(task.in, allow, columns, mask_row, s);
    scale = 1.0f;
  }
  const Lanes<float> scales = Lanes<float>::broadcast(scale), base = Lanes<float>::broadcast(task.base[r]);
  const Lanes<float> inverse = Lanes<float>::broadcast(task.inverse[r]);
  const Lanes<float> delta = Lanes<float>::broadcast(task.delta[r]);
  for (int64_t c = columns.begin; c < columns.end; c += 2 * kLanes) {
    Lanes<float> weights[2], gradients[2];
#pragma GCC unroll 2
    for (int64_t i = 0; i < 2; ++i) {
      const int64_t at = c + i * kLanes;
      const Lanes<float> e = exp_flush(Lanes<float>::load(s + at) * scales - base);
      weights[i] = e * inverse;
      gradients[i] = e * (Lanes<float>::load(dp + at) * inverse - delta);  // (2)
      if (allow == ~uint64_t(0)) continue;
      weights[i] = keep_or_zero(allow >> at, weights[i]);
      gradients[i] = keep_or_zero(allow >> at, gradients[i]);
    }
    store_rounded<by_instruction>(weights, w + c);
    store_rounded<by_instruction>(gradients, ds + c);
  }
}
template <bool by_instruction>
static void exponentials_of_rows(const BFloat16BackwardTask& task, const Pair& pair, int64_t i, int64_t n,
                                 Columns columns) {
  for (int64_t j = i; j < i + n; ++j)
    exponentials<by_instruction>(task, pair.r + j, j, pair.allow[j], columns, pair.mask_row[j]);
}

// to += sums, for columns of `rows` rows.
static void add_rows(const float* sums, int64_t rows, int64_t columns, int64_t stride, float* to) {
  for (int64_t i = 0; i < rows; ++i, sums += stride, to += stride)
    for (int64_t c = 0; c < columns; c += kLanes)
      (Lanes<float>::load(to + c) + Lanes<float>::load(sums + c)).store(to + c);
}

static uint64_t start_pair(const BFloat16BackwardTask& task, Pair& pair) {
  const AttentionInput& in = task.in;
  uint64_t any = 0;
  for (int64_t i = 0; i < kBlock; ++i) {
    pair.allow[i] = 0, pair.mask_row[i] = 0;
    if (i >= pair.n || task.inverse[pair.r + i] == 0.0f) continue;
    const int64_t query = task.start + pair.r + i;
    pair.allow[i] = range_bits(key_range(in, task.b, query), pair.block);
    if (in.mask_allowed || in.mask_added) {
      pair.mask_row[i] = mask_start(in, task.b, task.head, query, pair.block);
      pair.allow[i] = mask_bits<BFloat16>(in, pair.allow[i], pair.mask_row[i]);
    }
    any |= pair.allow[i];
  }
  return any;
}

// w and ds of rows [i, i + n) of the pair, a panel.
static void weights_of_panel(const BFloat16BackwardTask& task, const Pair& pair, int64_t i, int64_t n,
                             Columns columns) {
  const Products& u = task.u;
  const int64_t query_block = pair.r / kBlock, width = columns.end - columns.begin;
  const auto products_of = [&](int64_t depth, const char* rows, const char* cols, float* to) {
    const int64_t steps = u.steps(depth);
    const Products::Range along = {0, steps, depth};
    u.multiply(rows + i / u.rows * steps * u.row_step, along, n, cols + columns.begin / u.cols * steps * u.col_step,
               along, width, to + i * kBlock + columns.begin, kBlock);
  };
  if (width) {
    products_of(task.in.head_dim, task.q + query_block * task.space.q_bytes, task.k, task.scores);
    products_of(task.in.value_dim, task.dout + query_block * task.space.dout_bytes, task.v, task.dp);
  }
  const auto exponentials = u.rounds_by_instruction ? exponentials_of_rows<true> : exponentials_of_rows<false>;
  exponentials(task, pair, i, n, columns);
}

// (4): what a panel of rows adds to dq.
static void add_to_dq(const BFloat16BackwardTask& task, const Pair& pair, int64_t i, int64_t n, Columns columns) {
  const int64_t D = task.in.head_dim, stride = task.space.dq_stride;
  const Products::Range along_keys = {columns.begin / kBFloat16Block, columns.end / kBFloat16Block, kBlock};
  const int64_t packed = least(columns.end, task.u.steps(pair.keys) * kBFloat16Block);
  task.u.pack_rows({task.ds + i * kBlock, n, kBlock, 1}, packed, kBlock, task.ds_rows);
  task.u.multiply(task.ds_rows, along_keys, n, task.k_across, along_keys, D, task.sums, stride);
  for (int64_t j = i; task.k_bad && j < i + n; ++j) {
    if (!(task.k_bad & ~pair.allow[j])) continue;
    const BFloat16* k = at<BFloat16>(task.in.k, task.in.k_strides, task.b, pair.block * kBlock, task.key_head);
    for (int64_t d = 0; d < D; ++d)
      task.sums[(j - i) * stride + d] = attended_sum(
          pair.allow[j], [&](int64_t key) { return task.ds[j * kBlock + key]; },
          [&](int64_t key) { return k[key * task.in.k_strides.token + d]; });
  }
  add_rows(task.sums, n, stride, stride, task.dq + (pair.r + i) * stride);
}

// The rows that attend to any of these keys, in whole steps of a product; none: {0, 0}.
static Columns attending_steps(const Pair& pair, uint64_t keys) {
  int64_t first = 0, last = pair.n;
  while (first < last && !(pair.allow[first] & keys)) ++first;
  while (first < last && !(pair.allow[last - 1] & keys)) --last;
  if (first == last) return {0, 0};
  return {first / kBFloat16Block * kBFloat16Block, (last + kBFloat16Block - 1) / kBFloat16Block * kBFloat16Block};
}

// (1) or (3): adds to dv or dk, (D, 64), the products of the pair's rows of x, also packed as panels, with weights.
// `attending` are the rows of each key, wanted where rows of x are bad.
static void add_to_keys(const BFloat16BackwardTask& task, const Pair& pair, const BFloat16* x, int64_t stride,
                        int64_t D, const char* x_panels, const BFloat16* weights, char* weight_panels, uint64_t bad,
                        const uint64_t* attending, float* to) {
  const Products& u = task.u;
  u.pack_cols({weights, kBlock, 1, kBlock}, pair.n, kBlock, weight_panels);
  for (int64_t first = 0; first < kBlock; first += u.cols) {
    const Columns rows = attending_steps(pair, first_keys(u.cols) << first);
    if (rows.begin == rows.end) continue;
    const Products::Range along_queries = {rows.begin / kBFloat16Block, rows.end / kBFloat16Block, kBlock};
    u.multiply(x_panels, along_queries, D, weight_panels + first / u.cols * u.steps(kBlock) * u.col_step, along_queries,
               u.cols, task.sums + first, kBlock);
    for (int64_t j = first; bad && j < first + u.cols; ++j) {
      if (!(bad & ~attending[j])) continue;
      for (int64_t d = 0; d < D; ++d)
        task.sums[d * kBlock + j] = attended_sum(
            attending[j], [&](int64_t i) { return x[i * stride + d]; },
            [&](int64_t i) { return weights[i * kBlock + j]; });
    }
    add_rows(task.sums + first, D, u.cols, kBlock, to + first);
  }
}

static void backward_pair(const BFloat16BackwardTask& task, Pair& pair) {
  const AttentionInput& in = task.in;
  const AttentionBFloat16BackwardSpace& s = task.space;
  const int64_t D = in.head_dim, Dv = in.value_dim, query_block = pair.r / kBlock;
  if (!start_pair(task, pair)) return;
  for (int64_t i = 0; i < pair.n; i += task.u.rows) {
    const int64_t n = least(task.u.rows, pair.n - i);
    uint64_t any = 0;
    for (int64_t j = i; j < i + n; ++j) any |= pair.allow[j];
    const Columns columns = any ? wanted_steps(any) : Columns{0, 0};
    weights_of_panel(task, pair, i, n, columns);
    if (any && task.a.dq) add_to_dq(task, pair, i, n, columns);
  }
  if (!task.a.dk) return;
  const uint64_t q_bad = task.q_bad[query_block], dout_bad = task.dout_bad[query_block];
  uint64_t attending[kBlock];
  __builtin_memcpy(attending, pair.allow, sizeof attending);
  if (q_bad | dout_bad) transpose_bits(attending);
  add_to_keys(task, pair, task.gradient(pair.r), task.a.dout_strides.token, Dv,
              task.dout_across + query_block * s.dout_across_bytes, task.w, task.w_cols, dout_bad, attending, task.dv);
  add_to_keys(task, pair, task.query(pair.r), in.q_strides.token, D, task.q_across + query_block * s.q_across_bytes,
              task.ds, task.ds_cols, q_bad, attending, task.dk);
}

// Writes n keys of (D, 64) sums, times factor, to their place or as a partial of the accumulator's dtype.
static void store_keys(const BFloat16BackwardTask& task, const float* from, int64_t D, float factor, void* data,
                       AttentionStrides strides, int64_t key, int64_t n) {
  const AttentionInput& in = task.in;
  const int64_t group = in.heads / in.key_heads, partials = attention_partials(in);
  const int64_t partial =
      (task.b * in.key_heads + task.key_head) * partials + task.head % group * attention_query_chunks(in) + task.chunk;
  for (int64_t first = 0; first < D; first += kBlock) {
    const int64_t width = least(kBlock, D - first);
    copy_transposed(from + first * kBlock, kBlock, width, n, task.row);
    for (int64_t j = 0; j < n; ++j) {
      const float* sums = task.row + j * kBlock;
      if (partials > 1)
        store_row(sums, width, factor, static_cast<float*>(data) + (partial * in.keys + key + j) * D + first);
      else if (task.a.wide)
        store_row(sums, width, factor, at<float>(data, strides, task.b, key + j, task.head) + first);
      else
        store_row(sums, width, factor, at<BFloat16>(data, strides, task.b, key + j, task.head) + first);
    }
  }
}

static void backward_task(BFloat16BackwardTask& task) {
  const AttentionBackward& a = task.a;
  const AttentionInput& in = a.in;
  const int64_t D = in.head_dim, Dv = in.value_dim, queries = task.stop - task.start;
  const float scale = float(in.scale);
  prepare_chunk(task);
  for (int64_t block = 0; block * kBlock < in.keys; ++block) {
    const int64_t key = block * kBlock, n = least(kBlock, in.keys - key);
    for (int64_t e = 0; e < kBlock * D; ++e) task.dk[e] = 0.0f;
    for (int64_t e = 0; e < kBlock * Dv; ++e) task.dv[e] = 0.0f;
    bool packed = false;
    for (int64_t r = 0; r < queries; r += kBlock) {
      const KeyRange range = task.block_range[r / kBlock];
      if (range.begin >= key + n || range.end <= key) continue;
      if (!packed) pack_keys(task, key, n);
      packed = true;
      Pair pair;
      pair.r = r, pair.n = least(kBlock, queries - r), pair.block = block, pair.keys = n;
      backward_pair(task, pair);
    }
    if (!a.dk) continue;
    store_keys(task, task.dk, D, scale, a.dk, a.dk_strides, key, n);
    store_keys(task, task.dv, Dv, 1.0f, a.dv, a.dv_strides, key, n);
  }
  for (int64_t r = 0; a.dq && r < queries; ++r) {
    const float* dq = task.dq + r * task.space.dq_stride;
    a.wide ? store_row(dq, D, scale, at<float>(a.dq, a.dq_strides, task.b, task.start + r, task.head))
           : store_row(dq, D, scale, at<BFloat16>(a.dq, a.dq_strides, task.b, task.start + r, task.head));
  }
}

void bfloat16_backward(const AttentionBackward& a, int64_t begin, int64_t end) {
  const AttentionInput& in = a.in;
  const Products u(*a.products, a.rounds_by_instruction);
  const AttentionBFloat16BackwardSpace space(in, u);
  BFloat16BackwardTask task(a, u, space);
  const int64_t chunks = attention_query_chunks(in), heads = in.batch * in.heads;
  u.begin();
  for (int64_t item = begin; item < end; ++item) {
    task.b = item % heads / in.heads;
    task.head = item % in.heads;
    task.key_head = task.head / (in.heads / in.key_heads);
    task.chunk = chunks - 1 - item / heads;
    task.start = task.chunk * kAttentionQueryChunk;
    task.stop = least(in.queries, task.start + kAttentionQueryChunk);
    backward_task(task);
  }
  u.end();
}

void bfloat16_sum(const AttentionSum& a, int64_t begin, int64_t end) {
  a.wide ? add_partials<float, float>(a, begin, end) : add_partials<BFloat16, float>(a, begin, end);
}

}  // namespace pyformer::PF_ISA

#endif
