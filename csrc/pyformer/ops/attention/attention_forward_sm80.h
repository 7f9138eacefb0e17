// Attention's forward pass on tensor cores: what it sums, and how, is at the head of attention_sm80.h. A block has 64
// rows of a key head. Or one key range of them: its sums go to `partial`, and JoinRanges adds them up in order, as a
// block that takes all ranges does, so that few rows are work for many multiprocessors.
#pragma once
#include "pyformer/base/math.h"
#include "pyformer/ops/attention/attention_sm80.h"

namespace pyformer::cuda {

// Where m is the highest score so far, exponentials are below it, or below 0 where there is none.
DEVICE float base_of(float m) { return m == -kInfinity<float> ? 0.0f : m; }

// The sums m, l of all ranges so far. add() joins those of a range: with `first` the sums o so far are to be
// multiplied, with `second` those of the range; a range with l = 0 is left out.
struct RangeSums {
  float m = -kInfinity<float>, l = 0;
  struct Factors {
    float first, second;
    DEVICE float join(float total, float o) const { return fma(total, first, o * second); }
  };
  DEVICE Factors add(float range_m, float range_l) {
    const float raised = max(range_m, m), base = base_of(raised);
    const Factors f = {exp_flush(m - base), exp_flush(range_m - base)};
    m = raised, l = f.join(l, range_l);
    return f;
  }
  // Of a column; no zero is negative.
  DEVICE float finish(float o) const { return l == 0.0f ? 0.0f : o / l + 0.0f; }
};

// Those of a warp's rows that a thread has numbers of, g and g + 8, and what they attend to.
struct OwnRows {
  int row[2], begin[2], end[2];
  int64_t mask_at[2];
  bool used;                           // the warp has rows
  int every_begin = 0, every_end = 0;  // of all of its rows

  DEVICE OwnRows(const AttentionInput& in, const HeadRows& rows, int first) {
    const int start = first + Attend::warp() * 16;
    used = start < rows.count;
    const int last = start + 15 < rows.count ? start + 15 : rows.count - 1;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      row[h] = start + Attend::lane() / 4 + 8 * h;
      const int inside = row[h] < last ? row[h] : last;
      const int64_t query = rows.query(inside);
      const KeyRange range = key_range(in, rows.b, query);
      begin[h] = int(range.begin), end[h] = int(range.end);
      mask_at[h] = mask_start(in, rows.b, rows.head(inside), query, 0);
    }
    if (!used) return;
    every_begin = int(key_range(in, rows.b, rows.query(last)).begin);
    every_end = int(key_range(in, rows.b, rows.query(start)).end);
  }
  // Whether some row leaves out some key of the 64 from `first_key` on.
  DEVICE bool is_partial(const AttentionInput& in, int first_key) const {
    return in.mask_allowed || in.mask_added || first_key < every_begin || first_key + Attend::kRows > every_end;
  }
};

// The key blocks that any of `height` rows attends to.
struct KeyBlocks {
  int first, last;
  DEVICE KeyBlocks(const AttentionInput& in, const HeadRows& rows, int first_row, int height = Attend::kRows) {
    const int last_row = first_row + height < rows.count ? first_row + height - 1 : rows.count - 1;
    first = int(key_range(in, rows.b, rows.query(first_row)).begin / kAttentionBlock);
    last = int(ceil_div(key_range(in, rows.b, rows.query(last_row)).end, kAttentionBlock));
  }
};

// Element `at` of the mask, for a key in range: whether the key is attended. What is added goes to the score.
template <class T>
DEVICE bool masked_score(const AttentionInput& in, int64_t at, float& score) {
  if (in.mask_allowed) return in.mask_allowed[at];
  if (!in.mask_added) return true;
  const float added = added_mask<T>(in, at);
  score = score + added;
  return added != -kInfinity<float>;
}

// From dots to scores, -inf where not attended. Returns the bits of what is attended (Weights).
template <class T, bool can_have_mask = true>
DEVICE uint32_t finish_scores(const AttentionInput& in, const OwnRows& own, int first_key, bool partial,
                              float (&s)[8][4]) {
  const float scale = float(in.scale);
  const bool masked = can_have_mask && (in.mask_allowed || in.mask_added);
  uint32_t attended = ~0u;
#pragma unroll
  for (int n = 0; n < 8; ++n)
#pragma unroll
    for (int h = 0; h < 4; ++h) {
      s[n][h] = s[n][h] * scale;
      if (!partial) continue;
      const int key = first_key + 8 * n + Attend::lane() % 4 * 2 + h % 2;
      bool is_attended = key >= own.begin[h / 2] && key < own.end[h / 2];
      if (masked && is_attended) is_attended = masked_score<T>(in, own.mask_at[h / 2] + key * in.mask_key, s[n][h]);
      if (is_attended) continue;
      s[n][h] = -kInfinity<float>;
      attended &= ~Weights::bit(n, h);
    }
  return attended;
}

// The running softmax of a key range: m is the same in a row's four lanes, l is each lane's own.
struct RunningSums {
  float m[2], l[2];
  DEVICE void start() { m[0] = m[1] = -kInfinity<float>, l[0] = l[1] = 0; }

  // From a block's scores to its weights; alpha is what sums of earlier blocks are multiplied with.
  template <class T>
  DEVICE void add(float (&s)[8][4], Weights& w, float (&alpha)[2]) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float raised = m[h], sum = 0;
#pragma unroll
      for (int n = 0; n < 8; ++n) raised = max(s[n][2 * h + 1], max(s[n][2 * h], raised));
      raised = max(__shfl_xor_sync(~0u, raised, 1), raised);
      raised = max(__shfl_xor_sync(~0u, raised, 2), raised);
      const float base = base_of(raised);
      alpha[h] = exp_flush(m[h] - base);
      m[h] = raised;
#pragma unroll
      for (int n = 0; n < 8; ++n) {
        const uint32_t two = packed<T>(exp_flush(s[n][2 * h] - base), exp_flush(s[n][2 * h + 1] - base));
        w.pair(n, 2 * h) = two;
        sum = sum + widened(T{uint16_t(two)});
        sum = sum + widened(T{uint16_t(two >> 16)});
      }
      l[h] = fma(l[h], alpha[h], sum);
    }
  }
  // l of a whole row
  DEVICE float total(int h) const {
    const float two = l[h] + __shfl_xor_sync(~0u, l[h], 1);
    return two + __shfl_xor_sync(~0u, two, 2);
  }
};

// Joins a range that ended to those before, and starts the next. total(n, h) is what o[n][h] is added to.
template <int count, class Total>
DEVICE void end_range(RunningSums& sums, RangeSums (&ranges)[2], float (&o)[count][4], const Total& total) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const float l = sums.total(h);
    if (l == 0.0f) continue;
    const RangeSums::Factors f = ranges[h].add(sums.m[h], l);
#pragma unroll
    for (int n = 0; n < count; ++n)
#pragma unroll
      for (int c = 2 * h; c < 2 * h + 2; ++c) total(n, c) = f.join(total(n, c), o[n][c]);
  }
#pragma unroll
  for (int n = 0; n < count; ++n)
#pragma unroll
    for (int h = 0; h < 4; ++h) o[n][h] = 0;
  sums.start();
}

// kWidth is D and Dv, or 0 for any.
template <class T, int kWidth>
__global__ void __launch_bounds__(Attend::kThreads, 2) attention_forward_sm80(const AttentionForward a) {
  constexpr int kRows = Attend::kRows, kColumns = kWidth ? kWidth : Attend::kColumns;
  const AttentionInput& in = a.in;
  const int D = kWidth ? kWidth : int(in.head_dim), Dv = kWidth ? kWidth : int(in.value_dim);
  const int pitch = Attend::pitch_of(D > Dv ? D : Dv), tile = kRows * pitch;
  const TilePlace place(in, in.queries * divided_small(in.heads, in.key_heads).quotient,
                        kWidth ? 1 : int(ceil_div(Dv, kColumns)));
  const int first_row = place.tiles_behind * kRows, first_column = place.column_block * kColumns;
  const HeadRows rows(in, place.head);
  const int columns = Dv - first_column < kColumns ? Dv - first_column : kColumns;
  T* const q = &shared_memory<T>();
  T* const ring = q + tile;
  const TileSource<T> from_q(in.q, in.q_strides), from_k(in.k, in.k_strides), from_v(in.v, in.v_strides);

  KeyBlocks blocks(in, rows, first_row);
  constexpr int kRangeBlocks = int(kAttentionKeyRange / kAttentionBlock);
  if (a.task_ranges) {
    blocks.first = blocks.first > place.rest * kRangeBlocks ? blocks.first : place.rest * kRangeBlocks;
    blocks.last = blocks.last < (place.rest + 1) * kRangeBlocks ? blocks.last : (place.rest + 1) * kRangeBlocks;
  }
  // Keys and values in turn.
  const auto slot = [&](int block, int which) {
    return ring + ((block - blocks.first) * 2 + which) % Attend::kSlots * tile;
  };
  const auto load_keys = [&](int block) {
    if (block < blocks.last)
      from_k.load_tokens(slot(block, 0), pitch, D, rows.b, rows.key_head, block * kRows, int(in.keys));
    cp_async_commit();
  };
  const auto load_values = [&](int block) {
    from_v.load_tokens(slot(block, 1), pitch, columns, rows.b, rows.key_head, block * kRows, int(in.keys),
                       first_column);
    cp_async_commit();
  };

  from_q.load_rows(q, pitch, D, rows, first_row);
  load_keys(blocks.first);
  const OwnRows own(in, rows, first_row);
  float o[kColumns / 8][4] = {}, total[kColumns / 8][4] = {};
  RunningSums sums;
  RangeSums ranges[2];
  sums.start();
  for (int block = blocks.first; block < blocks.last; ++block) {
    cp_async_wait<0>();
    __syncthreads();
    load_values(block);
    load_keys(block + 1);
    Weights w;
    float alpha[2];
    const bool partial = own.is_partial(in, block * kRows);
    if (own.used) {
      float s[8][4];
      dot_tiles(q, slot(block, 0), pitch, (D + 15) / 16, s);
      w.attended = finish_scores<T>(in, own, block * kRows, partial, s);
      sums.template add<T>(s, w, alpha);
    }
    cp_async_wait<1>();
    __syncthreads();
    if (!own.used) continue;
    multiply_columns<T, kColumns / 16>(w, partial, slot(block, 1), pitch, 0, (columns + 15) / 16,
                                       [&](int n, const float (&chain)[4]) {
#pragma unroll
                                         for (int h = 0; h < 4; ++h) o[n][h] = fma(o[n][h], alpha[h / 2], chain[h]);
                                       });
    if ((block + 1) % kRangeBlocks && block + 1 < blocks.last) continue;
    if (a.task_ranges) continue;  // it is the only one
    end_range(sums, ranges, o, [&](int n, int h) -> float& { return total[n][h]; });
  }
  cp_async_wait<0>();
  if (!own.used) return;

#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const float l = sums.total(h);  // of a range alone
    const int row = own.row[h];
    if (row >= rows.count) continue;
    const int64_t at = rows.at(in, row);
    float* const partial = static_cast<float*>(a.partial) + (at * a.task_ranges + place.rest) * (Dv + 2);
    const int64_t out = rows.b * a.out_strides.batch + rows.query(row) * a.out_strides.token +
                        rows.head(row) * a.out_strides.head + first_column;
#pragma unroll
    for (int n = 0; n < kColumns / 8; ++n)
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const int d = 8 * n + Attend::lane() % 4 * 2 + c;
        if (d >= columns) continue;
        const float value = ranges[h].finish(total[n][2 * h + c]);
        if (a.task_ranges)
          partial[first_column + d] = o[n][2 * h + c];
        else if (a.wide)
          static_cast<float*>(a.out)[out + d] = value;
        else
          to<T>(a.out)[out + d] = value;
      }
    if (Attend::lane() % 4 || first_column) continue;
    if (a.task_ranges) {
      partial[Dv] = sums.m[h], partial[Dv + 1] = l;
    } else {
      static_cast<float*>(a.row_max)[at] = ranges[h].m;
      static_cast<float*>(a.row_sum)[at] = ranges[h].l;
    }
  }
}

// Element i % Dv of row i / Dv.
template <class T>
struct JoinRanges {
  using Args = AttentionForward;
  static DEVICE void at(const Args& a, int64_t i) {
    const AttentionInput& in = a.in;
    const int64_t Dv = in.value_dim;
    const Divided element = divided(i, Dv), query = divided(element.quotient, in.queries);
    const Divided head = divided(query.quotient, in.heads);
    const float* range = static_cast<const float*>(a.partial) + element.quotient * a.task_ranges * (Dv + 2);
    RangeSums ranges;
    float o = 0;
    for (int64_t r = 0; r < a.task_ranges; ++r, range += Dv + 2)
      if (range[Dv + 1] != 0.0f) o = ranges.add(range[Dv], range[Dv + 1]).join(o, range[element.rest]);
    const int64_t out = head.quotient * a.out_strides.batch + query.rest * a.out_strides.token +
                        head.rest * a.out_strides.head + element.rest;
    if (a.wide)
      static_cast<float*>(a.out)[out] = ranges.finish(o);
    else
      to<T>(a.out)[out] = ranges.finish(o);
    if (element.rest) return;
    static_cast<float*>(a.row_max)[element.quotient] = ranges.m;
    static_cast<float*>(a.row_sum)[element.quotient] = ranges.l;
  }
};

// As many blocks as are work enough without ranges.
constexpr int64_t kEnoughTiles = 64;
inline bool has_enough_tiles(const AttentionInput& in, int64_t tiles) {
  return tiles >= kEnoughTiles || in.keys <= kAttentionKeyRange;
}

template <class T>
static void forward_sm80(AttentionForward a) {
  const AttentionInput& in = a.in;
  const int64_t Dv = in.value_dim, rows = in.queries * (in.heads / in.key_heads);
  const int width = Attend::width(in);
  const auto kernel = width == 64    ? attention_forward_sm80<T, 64>
                      : width == 128 ? attention_forward_sm80<T, 128>
                                     : attention_forward_sm80<T, 0>;
  const int64_t tiles =
      in.batch * in.key_heads * ceil_div(rows, Attend::kRows) * (width ? 1 : ceil_div(Dv, Attend::kColumns));
  const int64_t ranges = ceil_div(in.keys, kAttentionKeyRange);
  const auto run = [&](int64_t blocks) { start(kernel, blocks, Attend::kThreads, Attend::shared_bytes(in, 1), a); };
  if (has_enough_tiles(in, tiles)) return run(tiles);
  const int64_t elements = in.batch * in.heads * in.queries;
  const Scratch partial(elements * ranges * (Dv + 2) * int64_t(sizeof(float)));
  a.task_ranges = ranges, a.partial = partial.data();
  run(tiles * ranges);
  start_items<JoinRanges<T>>(a, elements * Dv);
}

}  // namespace pyformer::cuda
