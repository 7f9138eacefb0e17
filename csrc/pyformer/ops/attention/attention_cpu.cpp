// attention, vector code for one instruction set. Formulas and orders of sums are those of attention_ref.cpp.
//
// Forward: a task keeps q, o, m, l of up to 256 rows and walks the key blocks; heads that share a key head are rows
// of the same task. Where rows are few, as in decoding, a task takes several key heads and one key range, so that it
// reads whole tokens in order. Backward: a task keeps q, dout, dq of its queries and walks key blocks, inside them its
// query blocks; dk and dv of the key block are kept until it is done. Everything a tile reads is a contiguous copy, so
// the strides of the caller's arrays matter little.
#include "pyformer/ops/attention/attention_task.h"

namespace pyformer::PF_ISA {

constexpr int64_t kStripRows = 24;  // rows whose softmax is taken together

// ---- forward --------------------------------------------------------------------------------------------------

template <class T>
struct ForwardTask : RowsTask<T> {
  using RowsTask<T>::RowsTask;

  T *q, *k, *v, *p;  // (rows, D), (D, 64), (64, Dv), (64, 64)

  bool few() const { return this->head_rows <= kAttentionFewRows; }  // then k and v are read in place
};

// s becomes exp(s - base); lanes of l take the sums.
template <class T>
static PF_INLINE void exponentiate(T* s, Columns columns, T base, T alpha, T* l) {
  const Lanes<T> base_lanes = Lanes<T>::broadcast(base);
  Lanes<T> sum = Lanes<T>::zero();
  for (int64_t c = columns.begin; c < columns.end; c += kLanes) {
    const Lanes<T> p = exp_flush(Lanes<T>::load(s + c) - base_lanes);
    p.store(s + c);
    sum = sum + p;
  }
  fma(Lanes<T>::load(l), Lanes<T>::broadcast(alpha), sum).store(l);
}

// What the block's keys add to strip rows [r, r + n).
template <class T>
static void forward_strip(const ForwardTask<T>& task, int64_t r, int64_t n, int64_t block, const T* v,
                          int64_t v_stride) {
  const AttentionInput& in = task.in;
  const int64_t D = in.head_dim, D_padded = padded<T>(D), Dv_padded = padded<T>(in.value_dim);
  uint64_t allow[kStripRows];
  int64_t mask_row[kStripRows];
  Columns columns[kStripRows];
  T highest[kStripRows + 16], base[kStripRows + 16], alpha[kStripRows + 16];
  if (!allowed_keys<T>(task, r, n, block, allow, mask_row)) return;
  for_row_tiles(n, [&](auto count, int64_t i) {
    constexpr int rows = decltype(count)::value;
    const Columns wanted = wanted_columns<rows>(allow + i);
    for (int64_t j = i; j < i + rows; ++j) columns[j] = wanted;
    if (!task.few()) scores<T, rows>(task.q + (r + i) * D_padded, D_padded, task.k, D, wanted, task.p + i * kBlock);
  });
  for (int64_t i = 0; i < n; ++i) {
    if (allow[i] != ~uint64_t(0) || in.mask_added)
      finish_scores<T>(in, allow[i], columns[i], mask_row[i], task.p + i * kBlock);
    highest[i] = row_highest(task.p + i * kBlock, columns[i]);
  }
  raise_maxima(task.m + r, n, highest, base, alpha);
  for (int64_t i = 0; i < n; ++i)
    if (allow[i]) exponentiate(task.p + i * kBlock, columns[i], base[i], alpha[i], task.l + (r + i) * kLanes);
  weighted_sums<T, false>(n, task.p, allow, v, v_stride, {task.o + r * Dv_padded, Dv_padded, alpha});
}

// What a block's keys add to the rows of the task's h-th key head, if those are few.
template <class T>
static void forward_block_of_few(const ForwardTask<T>& task, int64_t h, int64_t block, const T* k, const T* v,
                                 int64_t n) {
  constexpr decltype(&scores_in_place<T, 1>) scores_of[] = {scores_in_place<T, 1>, scores_in_place<T, 2>,
                                                            scores_in_place<T, 3>, scores_in_place<T, 4>};
  const AttentionInput& in = task.in;
  const int64_t D = in.head_dim, D_padded = padded<T>(D), first = h * task.head_rows;
  const int64_t Dv = in.value_dim, Dv_padded = padded<T>(Dv);
  const bool whole = Dv == Dv_padded;
  scores_of[task.head_rows - 1](task.q + first * D_padded, D_padded, k, in.k_strides.token, n, D, task.p);
  if (!whole) copy_rows(v, in.v_strides.token, n, Dv, task.v);
  forward_strip(task, first, task.head_rows, block, whole ? v : task.v, whole ? in.v_strides.token : Dv_padded);
}

// The same for many rows. The next block is fetched between strips of rows.
template <class T>
static void forward_block(const ForwardTask<T>& task, int64_t h, int64_t block, const T* k, const T* v, int64_t n) {
  const AttentionInput& in = task.in;
  const int64_t D = in.head_dim, Dv = in.value_dim, first = h * task.head_rows;
  const int64_t next = least(kBlock, task.keys.end - block * kBlock - n);
  const int64_t k_stride = in.k_strides.token, v_stride = in.v_strides.token;
  copy_transposed(k, k_stride, n, D, task.k);
  copy_rows(v, v_stride, n, Dv, task.v);
  for (int64_t r = 0; r < task.head_rows; r += kStripRows) {
    const int64_t rows = least(kStripRows, task.head_rows - r);
    const int64_t from = next * r / task.head_rows, to = next * (r + rows) / task.head_rows;
    prefetch_rows(k + (n + from) * k_stride, k_stride, to - from, D);
    prefetch_rows(v + (n + from) * v_stride, v_stride, to - from, Dv);
    forward_strip(task, first + r, rows, block, task.v, padded<T>(Dv));
  }
}

// What a block's keys add to all rows of the task.
template <class T>
static void forward_heads(const ForwardTask<T>& task, int64_t block) {
  const AttentionInput& in = task.in;
  const int64_t key = block * kBlock, n = least(kBlock, task.keys.end - key);
  const T* k = at<T>(in.k, in.k_strides, task.b, key, task.first_head);
  const T* v = at<T>(in.v, in.v_strides, task.b, key, task.first_head);
  if (task.heads > 1) {
    touch_rows(k, in.k_strides.token, n, task.heads * in.head_dim);
    touch_rows(v, in.v_strides.token, n, task.heads * in.value_dim);
  }
  for (int64_t h = 0; h < task.heads; ++h) {
    const T *k_head = k + h * in.k_strides.head, *v_head = v + h * in.v_strides.head;
    if (task.few())
      forward_block_of_few(task, h, block, k_head, v_head, n);
    else
      forward_block(task, h, block, k_head, v_head, n);
  }
}

template <class T>
static void copy_queries(ForwardTask<T>& task) {
  const int64_t D = task.in.head_dim, D_padded = padded<T>(D);
  for (int64_t r = 0; r < task.rows; ++r) {
    if (r + kRowsAhead < task.rows) fetch_row(query_row<T>(task, r + kRowsAhead), D);
    copy_row(query_row<T>(task, r), D, T(task.in.scale), task.q + r * D_padded);
  }
}

template <class T>
static void place_in_workspace(const AttentionForward& a, ForwardTask<T>& task) {
  const AttentionInput& in = a.in;
  const int64_t D_padded = padded<T>(in.head_dim), Dv_padded = padded<T>(in.value_dim);
  const int64_t all_rows = in.queries * (in.heads / in.key_heads);
  const int64_t capacity = least(kAttentionRowBlock, all_rows * a.task_heads);
  T* space = static_cast<T*>(a.workspace);
  const auto take = [&](int64_t elements) {
    T* part = space;
    space += elements;
    return part;
  };
  task.k = take(kBlock * D_padded), task.v = take(kBlock * Dv_padded), task.p = take(kBlock * kBlock);
  task.q = take(capacity * D_padded), task.o = take(capacity * Dv_padded), task.total = take(capacity * Dv_padded);
  task.l = take(capacity * kLanes), task.m = take(capacity);
  task.total_l = take(capacity), task.total_m = take(capacity);
}

template <class T>
static void forward(const AttentionForward& a, int64_t begin, int64_t end) {
  for (int64_t item = begin; item < end; ++item) {
    ForwardTask<T> task(a.in);
    const int64_t only = start_task(a, item, task);
    place_in_workspace(a, task);
    copy_queries(task);
    // Heads inside blocks: what several heads read of one token lies together.
    for_key_ranges(task, only, [&](int64_t from, int64_t to) {
      for (int64_t block = from / kBlock; block * kBlock < to; ++block) forward_heads(task, block);
    });
    if (a.task_ranges)
      store_partial(a, task, only);
    else
      store_result<T>(a, task);
  }
}

// ---- backward -------------------------------------------------------------------------------------------------

template <class T>
struct BackwardTask {
  explicit BackwardTask(const AttentionBackward& args) : a(args) {}

  const AttentionBackward& a;
  int64_t b, head, key_head, chunk, start, stop;
  T *k, *kt, *v, *vt, *dk, *dv, *p, *ds;      // blocks of 64 keys; dk and dv are sums over the queries so far
  T *q, *dout, *dq, *base, *inverse, *delta;  // of the chunk's queries; q * scale and dout / l
  KeyRange block_range[kAttentionQueryChunk / kBlock];
};

// Copies q * scale and dout / l. Per row: base, 1 / l and delta; and the range of keys each query block attends to at
// most.
template <class T>
static void prepare_rows(BackwardTask<T>& task) {
  const AttentionBackward& a = task.a;
  const AttentionInput& in = a.in;
  const int64_t D = in.head_dim, D_padded = padded<T>(D), Dv = in.value_dim, Dv_padded = padded<T>(Dv);
  for (int64_t i = task.start; i < task.stop; ++i) {
    const int64_t r = i - task.start, row = (task.b * in.heads + task.head) * in.queries + i;
    const T m = static_cast<const T*>(a.row_max)[row], l = static_cast<const T*>(a.row_sum)[row];
    const T* q = at<T>(in.q, in.q_strides, task.b, i, task.head);
    const T* dout = at<T>(a.dout, a.dout_strides, task.b, i, task.head);
    const T* out = at<T>(a.out, a.out_strides, task.b, i, task.head);
    if (i + kRowsAhead < task.stop) {
      fetch_row(q + kRowsAhead * in.q_strides.token, D);
      fetch_row(dout + kRowsAhead * a.dout_strides.token, Dv);
      fetch_row(out + kRowsAhead * a.out_strides.token, Dv);
    }
    task.base[r] = m == -kInfinity<T> ? T(0) : m;
    task.inverse[r] = l == T(0) ? T(0) : T(1) / l;  // 0: the row takes no part
    copy_row(q, D, T(in.scale), task.q + r * D_padded);
    copy_row(dout, Dv, task.inverse[r], task.dout + r * Dv_padded);
    task.delta[r] = row_dot_lanes(task.dout + r * Dv_padded, out, Dv);
    for (int64_t d = 0; d < D_padded; ++d) task.dq[r * D_padded + d] = T(0);
    KeyRange& range = task.block_range[r / kBlock];
    if (r % kBlock == 0) range = {in.keys, 0};
    const KeyRange mine = key_range(in, task.b, i);
    if (mine.begin >= mine.end) continue;
    range.begin = least(range.begin, mine.begin);
    range.end = mine.end > range.end ? mine.end : range.end;
  }
}

// e and ds of a row, from its scores in p and dot(dout / l, v) in ds.
template <class T>
static PF_INLINE void exponentials(const BackwardTask<T>& task, int64_t r, Columns columns, T* p, T* ds) {
  const Vec<T> base = Vec<T>::broadcast(task.base[r]), delta = Vec<T>::broadcast(task.delta[r]);
  for (int64_t c = columns.begin; c < columns.end; c += Vec<T>::width) {
    const Vec<T> e = exp_flush(Vec<T>::load(p + c) - base);
    e.store(p + c);
    (e * (Vec<T>::load(ds + c) - delta)).store(ds + c);  // (2)
  }
}

// e and ds of strip rows [i, i + n) of the queries from r on.
template <class T>
static void backward_strip(const BackwardTask<T>& task, int64_t r, int64_t i, int64_t n, const uint64_t* allow,
                           const int64_t* mask_row) {
  const AttentionInput& in = task.a.in;
  const auto scores_with = [&](const T* rows_data, int64_t D, const T* transposed, T* out) {
    const int64_t D_padded = padded<T>(D);
    for_row_tiles(n, [&](auto count, int64_t j) {
      constexpr int rows = decltype(count)::value;
      scores<T, rows>(rows_data + (r + i + j) * D_padded, D_padded, transposed, D, wanted_columns<rows>(allow + i + j),
                      out + (i + j) * kBlock);
    });
  };
  scores_with(task.q, in.head_dim, task.kt, task.p);
  scores_with(task.dout, in.value_dim, task.vt, task.ds);
  for_row_tiles(n, [&](auto count, int64_t j) {
    constexpr int rows = decltype(count)::value;
    const Columns wanted = wanted_columns<rows>(allow + i + j);
    for (int64_t k = i + j; k < i + j + rows; ++k) {
      if (in.mask_added) finish_scores<T>(in, allow[k], wanted, mask_row[k], task.p + k * kBlock);
      exponentials(task, r + k, wanted, task.p + k * kBlock, task.ds + k * kBlock);
    }
  });
}

// Queries [start + r, start + r + n) against the block of keys at `key`.
template <class T>
static void backward_pair(const BackwardTask<T>& task, int64_t r, int64_t n, int64_t block) {
  const AttentionBackward& a = task.a;
  const AttentionInput& in = a.in;
  const int64_t D_padded = padded<T>(in.head_dim), Dv_padded = padded<T>(in.value_dim);
  const bool masked = in.mask_allowed || in.mask_added;
  uint64_t allow[kBlock] = {}, any = 0, all = ~uint64_t(0);
  int64_t mask_row[kBlock];
  for (int64_t i = 0; i < n; ++i) {
    const int64_t query = task.start + r + i;
    allow[i] = task.inverse[r + i] == T(0) ? 0 : range_bits(key_range(in, task.b, query), block);
    if (masked) {
      mask_row[i] = mask_start(in, task.b, task.head, query, block);
      allow[i] = mask_bits<T>(in, allow[i], mask_row[i]);
    }
    any |= allow[i];
    all &= allow[i];
  }
  if (!any) return;
  for (int64_t i = 0; i < n; i += kStripRows) backward_strip(task, r, i, least(kStripRows, n - i), allow, mask_row);
  if (a.dq)  // (4)
    weighted_sums<T, false>(n, task.ds, allow, task.k, D_padded, {task.dq + r * D_padded, D_padded, nullptr});
  if (!a.dk) return;
  if (any != ~uint64_t(0) || all != any || n < kBlock) transpose_bits(allow);
  const int64_t keys = 64 - __builtin_clzll(any);
  const T *q = task.q + r * D_padded, *dout = task.dout + r * Dv_padded;
  weighted_sums<T, true>(keys, task.p, allow, dout, Dv_padded, {task.dv, Dv_padded, nullptr});  // (1)
  weighted_sums<T, true>(keys, task.ds, allow, q, D_padded, {task.dk, D_padded, nullptr});      // (3)
}

// Where a partial of dk or dv goes: to its place, or, where several are to be added, behind one another.
template <class T>
static void store_partial_sums(const BackwardTask<T>& task, int64_t D, const T* from, void* data, AttentionStrides s,
                               int64_t key, int64_t n) {
  const AttentionInput& in = task.a.in;
  const int64_t group = in.heads / in.key_heads, partials = attention_partials(in);
  const int64_t partial =
      (task.b * in.key_heads + task.key_head) * partials + task.head % group * attention_query_chunks(in) + task.chunk;
  T* to =
      partials == 1 ? at<T>(data, s, task.b, key, task.head) : static_cast<T*>(data) + (partial * in.keys + key) * D;
  store_rows(from, n, D, T(1), to, partials == 1 ? s.token : D);
}

template <class T>
static void backward_task(BackwardTask<T>& task) {
  const AttentionBackward& a = task.a;
  const AttentionInput& in = a.in;
  const int64_t D = in.head_dim, D_padded = padded<T>(D), queries = task.stop - task.start;
  const int64_t Dv = in.value_dim, Dv_padded = padded<T>(Dv);
  prepare_rows(task);
  for (int64_t block = 0; block * kBlock < in.keys; ++block) {
    const int64_t key = block * kBlock, n = least(kBlock, in.keys - key);
    for (int64_t e = 0; e < kBlock * D_padded; ++e) task.dk[e] = T(0);
    for (int64_t e = 0; e < kBlock * Dv_padded; ++e) task.dv[e] = T(0);
    bool copied = false;
    for (int64_t r = 0; r < queries; r += kBlock) {
      const KeyRange range = task.block_range[r / kBlock];
      if (range.begin >= key + n || range.end <= key) continue;
      if (!copied) {
        const T* k = at<T>(in.k, in.k_strides, task.b, key, task.key_head);
        copy_rows(k, in.k_strides.token, n, D, task.k);
        copy_transposed(task.k, D_padded, n, D, task.kt);
        const T* v = at<T>(in.v, in.v_strides, task.b, key, task.key_head);
        copy_rows(v, in.v_strides.token, n, Dv, task.v);
        copy_transposed(task.v, Dv_padded, n, Dv, task.vt);
        copied = true;
      }
      backward_pair(task, r, least(kBlock, queries - r), block);
    }
    if (!a.dk) continue;
    store_partial_sums(task, D, task.dk, a.dk, a.dk_strides, key, n);
    store_partial_sums(task, Dv, task.dv, a.dv, a.dv_strides, key, n);
  }
  if (a.dq)
    store_rows(task.dq, queries, D, T(in.scale), at<T>(a.dq, a.dq_strides, task.b, task.start, task.head),
               a.dq_strides.token);
}

template <class T>
static void backward(const AttentionBackward& a, int64_t begin, int64_t end) {
  const AttentionInput& in = a.in;
  const int64_t chunks = attention_query_chunks(in), heads = in.batch * in.heads;
  const int64_t D_padded = padded<T>(in.head_dim), Dv_padded = padded<T>(in.value_dim);
  const int64_t capacity = least(kAttentionQueryChunk, in.queries);
  for (int64_t item = begin; item < end; ++item) {
    BackwardTask<T> task(a);
    task.b = item % heads / in.heads;
    task.head = item % in.heads;
    task.key_head = task.head / (in.heads / in.key_heads);
    task.chunk = chunks - 1 - item / heads;
    task.start = task.chunk * kAttentionQueryChunk;
    task.stop = least(in.queries, task.start + kAttentionQueryChunk);
    T* space = static_cast<T*>(a.workspace);
    const auto take = [&](int64_t elements) {
      T* part = space;
      space += elements;
      return part;
    };
    task.k = take(kBlock * D_padded), task.kt = take(kBlock * D_padded), task.dk = take(kBlock * D_padded);
    task.v = take(kBlock * Dv_padded), task.vt = take(kBlock * Dv_padded), task.dv = take(kBlock * Dv_padded);
    task.q = take(capacity * D_padded), task.dq = take(capacity * D_padded), task.dout = take(capacity * Dv_padded);
    task.p = space;
    task.ds = task.p + kBlock * kBlock;
    task.base = task.ds + kBlock * kBlock;
    task.inverse = task.base + capacity;
    task.delta = task.inverse + capacity;
    backward_task(task);
  }
}

// attention_bfloat16_cpu.cpp has them; the portable set, which has no products of bfloat16, leaves them to ref.
#if defined(__AVX2__)
void bfloat16_forward(const AttentionForward& a, int64_t begin, int64_t end);
void bfloat16_join(const AttentionForward& a, int64_t begin, int64_t end);
void bfloat16_backward(const AttentionBackward& a, int64_t begin, int64_t end);
void bfloat16_sum(const AttentionSum& a, int64_t begin, int64_t end);
#else
constexpr Kernel<AttentionForward> bfloat16_forward = nullptr, bfloat16_join = nullptr;
constexpr Kernel<AttentionBackward> bfloat16_backward = nullptr;
constexpr Kernel<AttentionSum> bfloat16_sum = nullptr;
#endif

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const AttentionTilesTable& KernelsOf<AttentionTilesTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr AttentionTilesTable table = {
      {{forward<float>, forward<double>, bfloat16_forward}},
      {{join_ranges<float, float>, join_ranges<double, double>, bfloat16_join}},
      {{backward<float>, backward<double>, bfloat16_backward}},
      {{add_partials<float, float>, add_partials<double, double>, bfloat16_sum}}};
  return table;
}
}  // namespace pyformer
