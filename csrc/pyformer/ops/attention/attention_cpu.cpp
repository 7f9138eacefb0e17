// attention, vector code for one instruction set. Formulas and orders of sums are those of attention_ref.cpp.
//
// Forward: a task keeps q, o, m, l of up to 256 rows and walks the key blocks; heads that share a key head are rows
// of the same task. Where rows are few, as in decoding, a task takes several key heads and one key range, so that it
// reads whole tokens in order. Backward: a task keeps q, dout, dq of its queries and walks key blocks, inside them its
// query blocks; dk and dv of the key block are kept until it is done. Everything a tile reads is a contiguous copy, so
// the strides of the caller's arrays matter little.
#include "pyformer/base/math.h"
#include "pyformer/ops/attention/attention_tiles.h"

namespace pyformer::PF_ISA {

constexpr int64_t kStripRows = 24;  // rows whose softmax is taken together

// ---- forward --------------------------------------------------------------------------------------------------

struct Row {
  int64_t query, head;
  KeyRange range;
};

template <class T>
struct ForwardTask {
  explicit ForwardTask(const AttentionInput& input) : in(input) {}

  const AttentionInput& in;
  int64_t b, first_head, heads, head_rows, rows;  // rows = heads * head_rows
  KeyRange keys;                                  // what any of them attends to in this task
  T *q, *k, *v, *p;                               // (rows, D), (D, 64), (64, Dv), (64, 64)
  T *o, *m, *l;                                   // of the key range: (rows, Dv), (rows,), (rows, 16)
  T *total, *total_m, *total_l;                   // of the ranges so far: (rows, Dv), (rows,), (rows,)
  Row row[kAttentionRowBlock];

  bool few() const { return head_rows <= kAttentionFewRows; }  // then k and v are read in place
  const T* query_row(int64_t r) const { return at<T>(in.q, in.q_strides, b, row[r].query, row[r].head); }
};

// Rows [first, first + head_rows) of each key head: queries in order, and for each the heads of the group.
template <class T>
static void find_rows(ForwardTask<T>& task, int64_t first) {
  const int64_t group = task.in.heads / task.in.key_heads;
  Row* row = task.row;
  for (int64_t key_head = task.first_head; key_head < task.first_head + task.heads; ++key_head) {
    int64_t query = first / group, g = first % group;
    for (int64_t r = 0; r < task.head_rows; ++r) {
      *row++ = {query, key_head * group + g, key_range(task.in, task.b, query)};
      if (++g == group) g = 0, ++query;
    }
  }
}

template <class T>
static PF_INLINE T row_highest(const T* s, Columns columns) {
  Lanes<T> highest = Lanes<T>::broadcast(-kInfinity<T>);
  for (int64_t c = columns.begin; c < columns.end; c += kLanes) highest = max(Lanes<T>::load(s + c), highest);
  return highest_lane(highest);
}

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
  const bool masked = in.mask_allowed || in.mask_added;
  uint64_t allow[kStripRows], any = 0;
  int64_t mask_row[kStripRows];
  Columns columns[kStripRows];
  T highest[kStripRows + 16], base[kStripRows + 16], alpha[kStripRows + 16];
  for (int64_t i = 0; i < n; ++i) {
    const Row& row = task.row[r + i];
    allow[i] = range_bits(row.range, block);
    if (masked) {
      mask_row[i] = mask_start(in, task.b, row.head, row.query, block);
      allow[i] = mask_bits<T>(in, allow[i], mask_row[i]);
    }
    any |= allow[i];
  }
  if (!any) return;
  for_row_tiles(n, [&](auto count, int64_t i) {
    constexpr int rows = decltype(count)::value;
    const Columns wanted = wanted_columns<rows>(allow + i);
    for (int64_t j = i; j < i + rows; ++j) columns[j] = wanted;
    if (!task.few()) scores<T, rows>(task.q + (r + i) * D_padded, D_padded, task.k, D, wanted, task.p + i * kBlock);
  });
  for (int64_t i = 0; i < n; ++i) {
    if (allow[i] != ~uint64_t(0) || in.mask_added)
      finish_scores(in, allow[i], columns[i], mask_row[i], task.p + i * kBlock);
    highest[i] = row_highest(task.p + i * kBlock, columns[i]);
  }
  T* m = task.m + r;
  for (int64_t i = 0; i < n; i += Vec<T>::width) {
    const int64_t count = least(Vec<T>::width, n - i);
    const Vec<T> old = Vec<T>::load_partial(m + i, count);
    const Vec<T> raised = max(Vec<T>::load_partial(highest + i, count), old);
    const Vec<T> used = select(raised == Vec<T>::broadcast(-kInfinity<T>), Vec<T>::zero(), raised);
    raised.store_partial(m + i, count);
    used.store(base + i);
    exp_flush(old - used).store(alpha + i);
  }
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

// Copies q * scale and finds out which keys the task is about.
template <class T>
static void start_rows(ForwardTask<T>& task) {
  const int64_t D = task.in.head_dim, D_padded = padded<T>(D);
  task.keys = {task.in.keys, 0};
  for (int64_t r = 0; r < task.rows; ++r) {
    const KeyRange range = task.row[r].range;
    if (range.begin < range.end) {
      task.keys.begin = least(task.keys.begin, range.begin);
      task.keys.end = range.end > task.keys.end ? range.end : task.keys.end;
    }
    if (r + kRowsAhead < task.rows) fetch_row(task.query_row(r + kRowsAhead), D);
    copy_row(task.query_row(r), D, T(task.in.scale), task.q + r * D_padded);
    task.total_m[r] = -kInfinity<T>;
    task.total_l[r] = T(0);
  }
}

template <class T>
static void start_range(ForwardTask<T>& task) {
  const int64_t Dv_padded = padded<T>(task.in.value_dim);
  for (int64_t e = 0; e < task.rows * Dv_padded; ++e) task.o[e] = T(0);
  for (int64_t e = 0; e < task.rows * kLanes; ++e) task.l[e] = T(0);
  for (int64_t r = 0; r < task.rows; ++r) task.m[r] = -kInfinity<T>;
}

// Adds the range to the totals.
template <class T>
static void end_range(ForwardTask<T>& task) {
  constexpr int64_t W = Vec<T>::width;
  const int64_t Dv_padded = padded<T>(task.in.value_dim);
  for (int64_t first = 0; first < task.rows; first += W) {
    const int64_t n = least(W, task.rows - first);
    const Rebase<Vec<T>> rebase(Vec<T>::load_partial(task.m + first, n), Vec<T>::load_partial(task.total_m + first, n));
    T raised[W], alpha[W], beta[W];
    rebase.raised.store(raised), rebase.alpha.store(alpha), rebase.beta.store(beta);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t r = first + i;
      const T l = total_of_lanes(Lanes<T>::load(task.l + r * kLanes));
      if (l == T(0)) continue;
      const T* o = task.o + r * Dv_padded;
      T* total = task.total + r * Dv_padded;
      const bool is_first = task.total_l[r] == T(0);
      if (is_first)
        copy_row(o, Dv_padded, T(1), total);
      else
        join_sums(o, alpha[i], beta[i], Dv_padded, total);
      task.total_m[r] = is_first ? task.m[r] : raised[i];
      task.total_l[r] = is_first ? l : fma(task.total_l[r], alpha[i], l * beta[i]);
    }
  }
}

static int64_t row_number(const AttentionInput& in, int64_t b, const Row& row) {
  return (b * in.heads + row.head) * in.queries + row.query;
}

template <class T>
static void store_result(const AttentionForward& a, const ForwardTask<T>& task) {
  const int64_t Dv = a.in.value_dim;
  const auto out = [&](int64_t r) { return at<T>(a.out, a.out_strides, task.b, task.row[r].query, task.row[r].head); };
  for (int64_t r = 0; r < task.rows; ++r) {
    if (r + kRowsAhead < task.rows) fetch_row_to_write(out(r + kRowsAhead), Dv);
    divide_row(task.total + r * padded<T>(Dv), task.total_l[r], Dv, out(r));
    const int64_t row = row_number(a.in, task.b, task.row[r]);
    static_cast<T*>(a.row_max)[row] = task.total_m[r];
    static_cast<T*>(a.row_sum)[row] = task.total_l[r];
  }
}

template <class T>
static T* partial_of(const AttentionForward& a, int64_t row, int64_t range) {
  return static_cast<T*>(a.partial) + (row * a.task_ranges + range) * (a.in.value_dim + 2);
}

template <class T>
static void store_partial(const AttentionForward& a, const ForwardTask<T>& task, int64_t range) {
  const int64_t Dv = a.in.value_dim;
  for (int64_t r = 0; r < task.rows; ++r) {
    T* partial = partial_of<T>(a, row_number(a.in, task.b, task.row[r]), range);
    if (task.total_l[r] != T(0)) store_rows(task.total + r * padded<T>(Dv), 1, Dv, T(1), partial, Dv);
    partial[Dv] = task.total_m[r];
    partial[Dv + 1] = task.total_l[r];
  }
}

// Keys [begin, end) of a range.
template <class T>
static void forward_range(ForwardTask<T>& task, int64_t begin, int64_t end) {
  start_range(task);
  // Heads inside blocks: what several heads read of one token lies together.
  for (int64_t block = begin / kBlock; block * kBlock < end; ++block) forward_heads(task, block);
  end_range(task);
}

// One key range if `only` is not negative, else all.
template <class T>
static void forward_task(ForwardTask<T>& task, int64_t only) {
  start_rows(task);
  const int64_t first = only < 0 ? task.keys.begin / kAttentionKeyRange : only;
  const int64_t last = only < 0 ? (task.keys.end + kAttentionKeyRange - 1) / kAttentionKeyRange : only + 1;
  for (int64_t range = first; range < last; ++range) {
    const int64_t begin = range * kAttentionKeyRange, end = least(begin + kAttentionKeyRange, task.keys.end);
    const int64_t from = begin < task.keys.begin ? task.keys.begin : begin;
    if (from < end) forward_range(task, from, end);
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
  const AttentionInput& in = a.in;
  const int64_t all_rows = in.queries * (in.heads / in.key_heads), blocks = attention_row_blocks(in);
  const int64_t head_tasks = (in.key_heads + a.task_heads - 1) / a.task_heads, tasks = in.batch * head_tasks;
  for (int64_t item = begin; item < end; ++item) {
    ForwardTask<T> task(in);
    task.b = item % tasks / head_tasks;
    task.first_head = item % tasks % head_tasks * a.task_heads;
    task.heads = least(a.task_heads, in.key_heads - task.first_head);
    const int64_t first = a.task_ranges ? 0 : (blocks - 1 - item / tasks) * kAttentionRowBlock;
    task.head_rows = least(kAttentionRowBlock, all_rows - first);
    task.rows = task.heads * task.head_rows;
    find_rows(task, first);
    place_in_workspace(a, task);
    forward_task(task, a.task_ranges ? item / tasks : -1);
    if (a.task_ranges)
      store_partial(a, task, item / tasks);
    else
      store_result(a, task);
  }
}

template <class T>
static void join(const AttentionForward& a, int64_t begin, int64_t end) {
  const AttentionInput& in = a.in;
  const int64_t D = in.value_dim;
  for (int64_t row = begin; row < end; ++row) {
    T* total = partial_of<T>(a, row, 0);  // the sums so far, m and l behind them
    for (int64_t range = 1; range < a.task_ranges; ++range) {
      T* next = partial_of<T>(a, row, range);
      if (next[D + 1] == T(0)) continue;
      if (total[D + 1] != T(0)) {
        const Rebase<T> rebase(next[D], total[D]);
        join_sums(next, rebase.alpha, rebase.beta, D, total);
        total[D] = rebase.raised;
        total[D + 1] = fma(total[D + 1], rebase.alpha, next[D + 1] * rebase.beta);
      } else {
        total = next;
      }
    }
    divide_row(total, total[D + 1], D,
               at<T>(a.out, a.out_strides, row / in.queries / in.heads, row % in.queries, row / in.queries % in.heads));
    static_cast<T*>(a.row_max)[row] = total[D];
    static_cast<T*>(a.row_sum)[row] = total[D + 1];
  }
}

// ---- backward -------------------------------------------------------------------------------------------------

// Bit r of column j becomes bit j of row r (Hacker's Delight, 7-3).
static void transpose_bits(uint64_t* rows) {
  uint64_t mask = 0x00000000FFFFFFFFull;
  for (int shift = 32; shift; shift >>= 1, mask ^= mask << shift)
    for (int r = 0; r < 64; r = (r + shift + 1) & ~shift) {
      const uint64_t swapped = ((rows[r] >> shift) ^ rows[r + shift]) & mask;
      rows[r] ^= swapped << shift;
      rows[r + shift] ^= swapped;
    }
}

template <class T>
struct BackwardTask {
  explicit BackwardTask(const AttentionBackward& args) : a(args) {}

  const AttentionBackward& a;
  int64_t b, head, key_head, chunk, start, stop;
  T *k, *kt, *v, *vt, *dk, *dv, *p, *ds;      // blocks of 64 keys; dk and dv are sums over the queries so far
  T *q, *dout, *dq, *base, *inverse, *delta;  // of the chunk's queries; q * scale and dout / l
  KeyRange block_range[kAttentionQueryChunk / kBlock];
};

// dot(x, y) by the row-reduction rule.
template <class T>
static PF_INLINE T row_dot_lanes(const T* x, const T* y, int64_t D) {
  const auto add = [&](int64_t d, int64_t n, const Lanes<T>& sum) {
    return fma(load_lanes(x + d, n), load_lanes(y + d, n), sum);
  };
  if (D > kReduceBlock) return lanes_reduce<T>(D, add);
  Lanes<T> sum = Lanes<T>::zero();
  for (int64_t d = 0; d < D; d += kLanes) sum = add(d, least(kLanes, D - d), sum);
  return total_of_lanes(sum);
}

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
      if (in.mask_added) finish_scores(in, allow[k], wanted, mask_row[k], task.p + k * kBlock);
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

template <class T>
static void sum(const AttentionSum& a, int64_t begin, int64_t end) {
  const int64_t D = a.width;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t row = item / a.keys, key = item % a.keys;  // row: batch and key head
    const T* partial = static_cast<const T*>(a.partial) + (row * a.partials * a.keys + key) * D;
    T* sum = at<T>(a.sum, a.sum_strides, row / a.key_heads, key, row % a.key_heads);
    for (int64_t d = 0; d < D; d += kLanes) {
      const int64_t n = least(kLanes, D - d);
      Lanes<T> total = load_lanes(partial + d, n);
      for (int64_t i = 1; i < a.partials; ++i) total = total + load_lanes(partial + i * a.keys * D + d, n);
      store_lanes(total, sum + d, n);
    }
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const AttentionTilesTable& KernelsOf<AttentionTilesTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr AttentionTilesTable table = {{{forward<float>, forward<double>}},
                                                {{join<float>, join<double>}},
                                                {{backward<float>, backward<double>}},
                                                {{sum<float>, sum<double>}}};
  return table;
}
}  // namespace pyformer
