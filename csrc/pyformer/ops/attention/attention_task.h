// What attention's vector kernels of all dtypes share: a forward task's rows and their sums over key ranges, and the
// passes that join partial sums. Sums are of type T; S is what the operands hold, Out what results are stored as.
#pragma once
#include "pyformer/base/bfloat16_vec.h"
#include "pyformer/ops/attention/attention_tiles.h"

namespace pyformer::PF_ISA {

struct Row {
  int64_t query, head;
  KeyRange range;
};

template <class T>
struct RowsTask {
  explicit RowsTask(const AttentionInput& input) : in(input) {}

  const AttentionInput& in;
  int64_t b, first_head, heads, head_rows, rows;  // rows = heads * head_rows
  KeyRange keys;                                  // what any of them attends to in this task
  T *o, *m, *l;                                   // of the key range: (rows, Dv), (rows,), (rows, 16)
  T *total, *total_m, *total_l;                   // of the ranges so far: (rows, Dv), (rows,), (rows,)
  Row row[kAttentionRowBlock];
};

// Rows [first, first + head_rows) of each key head: queries in order, and for each the heads of the group. Finds out
// which keys the task is about.
template <class T>
static void find_rows(RowsTask<T>& task, int64_t first) {
  const int64_t group = task.in.heads / task.in.key_heads;
  Row* row = task.row;
  task.keys = {task.in.keys, 0};
  for (int64_t key_head = task.first_head; key_head < task.first_head + task.heads; ++key_head) {
    int64_t query = first / group, g = first % group;
    for (int64_t r = 0; r < task.head_rows; ++r) {
      const KeyRange range = key_range(task.in, task.b, query);
      if (range.begin < range.end) {
        task.keys.begin = least(task.keys.begin, range.begin);
        task.keys.end = range.end > task.keys.end ? range.end : task.keys.end;
      }
      *row++ = {query, key_head * group + g, range};
      if (++g == group) g = 0, ++query;
    }
  }
}

// The rows of a work item; returns the key range that it takes, or -1 for all.
template <class T>
static int64_t start_task(const AttentionForward& a, int64_t item, RowsTask<T>& task) {
  const AttentionInput& in = a.in;
  const int64_t all_rows = in.queries * (in.heads / in.key_heads), blocks = attention_row_blocks(in);
  const int64_t head_tasks = (in.key_heads + a.task_heads - 1) / a.task_heads, tasks = in.batch * head_tasks;
  task.b = item % tasks / head_tasks;
  task.first_head = item % tasks % head_tasks * a.task_heads;
  task.heads = least(a.task_heads, in.key_heads - task.first_head);
  const int64_t first = a.task_ranges ? 0 : (blocks - 1 - item / tasks) * kAttentionRowBlock;
  task.head_rows = least(kAttentionRowBlock, all_rows - first);
  task.rows = task.heads * task.head_rows;
  find_rows(task, first);
  return a.task_ranges ? item / tasks : -1;
}

template <class S, class T>
static PF_INLINE const S* query_row(const RowsTask<T>& task, int64_t r) {
  return at<S>(task.in.q, task.in.q_strides, task.b, task.row[r].query, task.row[r].head);
}

// What the n rows from r on attend to in a block; returns the keys that any of them does.
template <class S, class T>
static PF_INLINE uint64_t allowed_keys(const RowsTask<T>& task, int64_t r, int64_t n, int64_t block, uint64_t* allow,
                                       int64_t* mask_row) {
  const AttentionInput& in = task.in;
  const bool masked = in.mask_allowed || in.mask_added;
  uint64_t any = 0;
  for (int64_t i = 0; i < n; ++i) {
    const Row& row = task.row[r + i];
    allow[i] = range_bits(row.range, block);
    if (masked) {
      mask_row[i] = mask_start(in, task.b, row.head, row.query, block);
      allow[i] = mask_bits<S>(in, allow[i], mask_row[i]);
    }
    any |= allow[i];
  }
  return any;
}

template <class T>
static PF_INLINE T row_highest(const T* s, Columns columns) {
  Lanes<T> highest = Lanes<T>::broadcast(-kInfinity<T>);
  for (int64_t c = columns.begin; c < columns.end; c += kLanes) highest = max(Lanes<T>::load(s + c), highest);
  return highest_lane(highest);
}

// Raises n rows' maxima m to a block's; base and alpha become what its exponentials are below, and what earlier sums
// are multiplied with. All three arrays hold whole registers.
template <class T>
static PF_INLINE void raise_maxima(T* m, int64_t n, const T* highest, T* base, T* alpha) {
  for (int64_t i = 0; i < n; i += Vec<T>::width) {
    const int64_t count = least(Vec<T>::width, n - i);
    const Vec<T> old = Vec<T>::load_partial(m + i, count);
    const Vec<T> raised = max(Vec<T>::load_partial(highest + i, count), old);
    const Vec<T> used = select(raised == Vec<T>::broadcast(-kInfinity<T>), Vec<T>::zero(), raised);
    count == Vec<T>::width ? raised.store(m + i) : raised.store_partial(m + i, count);
    used.store(base + i);
    exp_flush(old - used).store(alpha + i);
  }
}

template <class T>
static void start_totals(RowsTask<T>& task) {
  for (int64_t r = 0; r < task.rows; ++r) {
    task.total_m[r] = -kInfinity<T>;
    task.total_l[r] = T(0);
  }
}

template <class T>
static void start_range(RowsTask<T>& task) {
  const int64_t Dv_padded = padded<T>(task.in.value_dim);
  for (int64_t e = 0; e < task.rows * Dv_padded; ++e) task.o[e] = T(0);
  for (int64_t e = 0; e < task.rows * kLanes; ++e) task.l[e] = T(0);
  for (int64_t r = 0; r < task.rows; ++r) task.m[r] = -kInfinity<T>;
}

// Adds the range to the totals.
template <class T>
static void end_range(RowsTask<T>& task) {
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

// Calls range(begin, end) for the keys of each key range that the task has, or of range `only` if that is not negative.
template <class T, class Range>
static void for_key_ranges(RowsTask<T>& task, int64_t only, const Range& range) {
  start_totals(task);
  const int64_t first = only < 0 ? task.keys.begin / kAttentionKeyRange : only;
  const int64_t last = only < 0 ? (task.keys.end + kAttentionKeyRange - 1) / kAttentionKeyRange : only + 1;
  for (int64_t i = first; i < last; ++i) {
    const int64_t begin = i * kAttentionKeyRange, end = least(begin + kAttentionKeyRange, task.keys.end);
    const int64_t from = begin < task.keys.begin ? task.keys.begin : begin;
    if (from >= end) continue;
    start_range(task);
    range(from, end);
    end_range(task);
  }
}

template <class T>
static int64_t row_number(const RowsTask<T>& task, int64_t r) {
  return (task.b * task.in.heads + task.row[r].head) * task.in.queries + task.row[r].query;
}

template <class T, class Out>
static void divide_row(const T* o, T l, int64_t D, Out* out) {
  const Vec<T> divisor = Vec<T>::broadcast(l);
  for (int64_t d = 0; d < D; d += Vec<T>::width) {
    const int64_t n = least(Vec<T>::width, D - d);
    const Vec<T> value = l == T(0) ? Vec<T>::zero() : Vec<T>::load_partial(o + d, n) / divisor;
    n == Vec<T>::width ? store_rounded(value, out + d) : store_rounded(value, out + d, n);
  }
}

template <class Out, class T>
static void store_result(const AttentionForward& a, const RowsTask<T>& task) {
  const int64_t Dv = a.in.value_dim;
  const auto out = [&](int64_t r) {
    return at<Out>(a.out, a.out_strides, task.b, task.row[r].query, task.row[r].head);
  };
  for (int64_t r = 0; r < task.rows; ++r) {
    if (r + kRowsAhead < task.rows) fetch_row_to_write(out(r + kRowsAhead), Dv);
    divide_row(task.total + r * padded<T>(Dv), task.total_l[r], Dv, out(r));
    const int64_t row = row_number(task, r);
    static_cast<T*>(a.row_max)[row] = task.total_m[r];
    static_cast<T*>(a.row_sum)[row] = task.total_l[r];
  }
}

template <class T>
static T* partial_of(const AttentionForward& a, int64_t row, int64_t range) {
  return static_cast<T*>(a.partial) + (row * a.task_ranges + range) * (a.in.value_dim + 2);
}

template <class T>
static void store_partial(const AttentionForward& a, const RowsTask<T>& task, int64_t range) {
  const int64_t Dv = a.in.value_dim;
  for (int64_t r = 0; r < task.rows; ++r) {
    T* partial = partial_of<T>(a, row_number(task, r), range);
    if (task.total_l[r] != T(0)) store_rows(task.total + r * padded<T>(Dv), 1, Dv, T(1), partial, Dv);
    partial[Dv] = task.total_m[r];
    partial[Dv + 1] = task.total_l[r];
  }
}

template <class Out, class T>
static void join_ranges(const AttentionForward& a, int64_t begin, int64_t end) {
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
    const int64_t b = row / in.queries / in.heads, head = row / in.queries % in.heads;
    divide_row(total, total[D + 1], D, at<Out>(a.out, a.out_strides, b, row % in.queries, head));
    static_cast<T*>(a.row_max)[row] = total[D];
    static_cast<T*>(a.row_sum)[row] = total[D + 1];
  }
}

template <class Out, class T>
static void add_partials(const AttentionSum& a, int64_t begin, int64_t end) {
  constexpr int64_t W = Vec<T>::width;
  const int64_t D = a.width;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t row = item / a.keys, key = item % a.keys;  // row: batch and key head
    const T* partial = static_cast<const T*>(a.partial) + (row * a.partials * a.keys + key) * D;
    Out* sum = at<Out>(a.sum, a.sum_strides, row / a.key_heads, key, row % a.key_heads);
    for (int64_t d = 0; d < D; d += W) {
      const int64_t n = least(W, D - d);
      Vec<T> total = Vec<T>::load_partial(partial + d, n);
      for (int64_t i = 1; i < a.partials; ++i) total = total + Vec<T>::load_partial(partial + i * a.keys * D + d, n);
      store_rounded(total, sum + d, n);
    }
  }
}

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

// Bit r of column j becomes bit j of row r (Hacker's Delight, 7-3).
static inline void transpose_bits(uint64_t* rows) {
  uint64_t mask = 0x00000000FFFFFFFFull;
  for (int shift = 32; shift; shift >>= 1, mask ^= mask << shift)
    for (int r = 0; r < 64; r = (r + shift + 1) & ~shift) {
      const uint64_t swapped = ((rows[r] >> shift) ^ rows[r + shift]) & mask;
      rows[r] ^= swapped << shift;
      rows[r + shift] ^= swapped;
    }
}

}  // namespace pyformer::PF_ISA
