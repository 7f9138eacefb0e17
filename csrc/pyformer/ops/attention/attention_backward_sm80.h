// Attention's backward pass on tensor cores, in two kernels and without atomics: what they sum, and how, is at the head
// of attention_sm80.h. dq has 64 rows of a key head and takes its keys, dk and dv have 64 keys and take its rows, and
// both compute scores anew. With e the exponentials, as in attention_ref.cpp:
//   w_ij = e_ij / l_i,  ds_ij = e_ij (dot(dout_i, v_j) / l_i - delta_i),  both rounded
//   dv_j = sum_i w_ij dout_i,  dk_j = (sum_i ds_ij q_i) scale,  dq_i = (sum_j ds_ij k_j) scale
// Sums of blocks of 64 are added in order to +0. Rows with l = 0 take no part.
#pragma once
#include "pyformer/ops/attention/attention_forward_sm80.h"

namespace pyformer::cuda {

struct Backward {
  AttentionBackward args;
  float* delta;  // (B, H, Tq)
};

// Of a row; `factor` is 1 / l, and 0 where the row takes no part.
struct RowNumbers {
  float base, factor, delta;
  DEVICE RowNumbers(const Backward& backward, int64_t at) {
    const float l = static_cast<const float*>(backward.args.row_sum)[at];
    base = base_of(static_cast<const float*>(backward.args.row_max)[at]);
    factor = l == 0.0f ? 0.0f : 1.0f / l;
    delta = l == 0.0f ? 0.0f : backward.delta[at];
  }
};

// Adds the sum of a block, of 8 columns, to those before.
template <int count>
DEVICE auto add_to(float (&sum)[count][4]) {
  return [&sum](int n, const float (&chain)[4]) {
#pragma unroll
    for (int h = 0; h < 4; ++h) sum[n][h] = sum[n][h] + chain[h];
  };
}

// From scores of a thread's two rows, and dots of dout with values, to ds, rounded.
template <class T>
DEVICE void round_score_gradients(const RowNumbers (&row)[2], const float (&s)[8][4], float (&ds)[8][4], Weights& w) {
#pragma unroll
  for (int n = 0; n < 8; ++n) {
#pragma unroll
    for (int h = 0; h < 4; ++h) {
      const RowNumbers& r = row[h / 2];
      const float e = exp_flush(s[n][h] - r.base);
      ds[n][h] = w.attended & Weights::bit(n, h) ? e * (ds[n][h] * r.factor - r.delta) : 0.0f;
    }
    w.template round<T>(n, ds[n]);
  }
}
template <int count>
DEVICE void clear_without_part(const RowNumbers (&row)[2], float (&dq)[count][4]) {
#pragma unroll
  for (int n = 0; n < count; ++n)
#pragma unroll
    for (int h = 0; h < 4; ++h)
      if (row[h / 2].factor == 0.0f) dq[n][h] = 0;
}

// Of the two rows that a thread has of 8, where keys are the vectors that a block has.
struct TwoRows {
  Packed<float, 2> base, factor, delta;

  // From dots of two keys with queries and of values with dout to the weights of dv and dk, rounded.
  // is_attended(h, score) is asked where not all is.
  template <class T, class IsAttended>
  DEVICE void round(int n, float scale, bool partial, float (&score)[4], float (&gradient)[4], Weights& w, Weights& dw,
                    const IsAttended& is_attended) const {
#pragma unroll
    for (int h = 0; h < 4; ++h) {
      const int c = h % 2;
      score[h] = score[h] * scale;
      const bool attended = !partial || is_attended(h, score[h]);
      if (!attended) w.attended &= ~Weights::bit(n, h);
      const float e = exp_flush(score[h] - base[c]);
      score[h] = attended ? e * factor[c] : 0.0f;
      gradient[h] = attended ? e * (gradient[h] * factor[c] - delta[c]) : 0.0f;
    }
    w.template round<T>(n, score);
    dw.template round<T>(n, gradient);
  }
};

// The warp's 16 vectors of `columns` elements from first_column on, times a factor; vector g + 8h is at start(h),
// or is none where that is negative.
template <class T, int most, class Start>
DEVICE void store_vectors(void* data, bool wide, int first_column, int columns, const float (&sum)[2 * most][4],
                          float factor, const Start& start) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int64_t first = start(h);
    if (first < 0) continue;
#pragma unroll
    for (int n = 0; n < 2 * most; ++n)
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const int d = 8 * n + Attend::lane() % 4 * 2 + c;
        if (d >= columns) continue;
        const float value = sum[n][2 * h + c] * factor;
        if (wide)
          static_cast<float*>(data)[first + first_column + d] = value;
        else
          to<T>(data)[first + first_column + d] = value;
      }
  }
}

// kWidth is D and Dv, or 0 for any, here and below.
template <class T, int kWidth>
__global__ void __launch_bounds__(Attend::kThreads, 2) attention_dq_sm80(const Backward backward) {
  constexpr int kRows = Attend::kRows, kColumns = kWidth ? kWidth : Attend::kColumns;
  const AttentionBackward& a = backward.args;
  const AttentionInput& in = a.in;
  const int D = kWidth ? kWidth : int(in.head_dim), Dv = kWidth ? kWidth : int(in.value_dim);
  const int pitch = Attend::pitch_of(D > Dv ? D : Dv), tile = kRows * pitch;
  const TilePlace place(in, in.queries * divided_small(in.heads, in.key_heads).quotient,
                        kWidth ? 1 : int(ceil_div(D, kColumns)));
  const int first_row = place.tiles_behind * kRows, first_column = place.column_block * kColumns;
  const HeadRows rows(in, place.head);
  const int columns = D - first_column < kColumns ? D - first_column : kColumns;
  T* const q = &shared_memory<T>();
  T* const dout = q + tile;
  T* const ring = dout + tile;
  const TileSource<T> from_q(in.q, in.q_strides), from_k(in.k, in.k_strides), from_v(in.v, in.v_strides),
      from_dout(a.dout, a.dout_strides);

  const KeyBlocks blocks(in, rows, first_row);
  // Keys and values in turn.
  const auto slot = [&](int block, int which) {
    return ring + ((block - blocks.first) * 2 + which) % Attend::kSlots * tile;
  };
  const auto load_keys = [&](int block) {
    if (block < blocks.last)
      from_k.load_tokens(slot(block, 0), pitch, D, rows.b, rows.key_head, block * kRows, int(in.keys));
    cp_async_commit();
  };
  from_q.load_rows(q, pitch, D, rows, first_row);
  from_dout.load_rows(dout, pitch, Dv, rows, first_row);
  load_keys(blocks.first);

  const OwnRows own(in, rows, first_row);
  const auto numbers = [&](int h) {
    return RowNumbers(backward, rows.at(in, own.row[h] < rows.count ? own.row[h] : rows.count - 1));
  };
  const RowNumbers row[2] = {numbers(0), numbers(1)};
  float dq[kColumns / 8][4] = {};
  for (int block = blocks.first; block < blocks.last; ++block) {
    cp_async_wait<0>();
    __syncthreads();
    from_v.load_tokens(slot(block, 1), pitch, Dv, rows.b, rows.key_head, block * kRows, int(in.keys));
    cp_async_commit();
    load_keys(block + 1);
    Weights w;
    float s[8][4];
    const bool partial = own.is_partial(in, block * kRows);
    if (own.used) {
      dot_tiles(q, slot(block, 0), pitch, (D + 15) / 16, s);
      w.attended = finish_scores<T>(in, own, block * kRows, partial, s);
    }
    cp_async_wait<1>();
    __syncthreads();
    if (!own.used) continue;
    float ds[8][4];
    dot_tiles(dout, slot(block, 1), pitch, (Dv + 15) / 16, ds);
    round_score_gradients<T>(row, s, ds, w);
    multiply_columns<T, kColumns / 16>(w, partial, slot(block, 0), pitch, first_column / Attend::kChunk,
                                       (columns + 15) / 16, add_to(dq));
  }
  cp_async_wait<0>();
  if (!own.used) return;
  clear_without_part(row, dq);
  store_vectors<T, kColumns / 16>(a.dq, a.wide, first_column, columns, dq, float(in.scale), [&](int h) -> int64_t {
    if (own.row[h] >= rows.count) return -1;
    return rows.b * a.dq_strides.batch + rows.query(own.row[h]) * a.dq_strides.token +
           rows.head(own.row[h]) * a.dq_strides.head;
  });
}

// What dk and dv need of the 64 rows of a tile, and from which to which of the block's 64 keys each attends.
struct TileRows {
  float base[Attend::kRows], factor[Attend::kRows], delta[Attend::kRows];
  uint8_t begin[Attend::kRows], end[Attend::kRows];

  DEVICE void load(const Backward& backward, const HeadRows& rows, int first, int first_key) {
    const int r = int(threadIdx.x), row = first + r;
    if (r >= Attend::kRows) return;
    base[r] = factor[r] = delta[r] = 0, begin[r] = end[r] = 0;
    if (row >= rows.count) return;
    const AttentionInput& in = backward.args.in;
    const RowNumbers numbers(backward, rows.at(in, row));
    base[r] = numbers.base, factor[r] = numbers.factor, delta[r] = numbers.delta;
    if (numbers.factor == 0.0f) return;  // as one that attends to nothing
    const KeyRange range = key_range(in, rows.b, rows.query(row));
    begin[r] = uint8_t(clamp(range.begin - first_key, 0, Attend::kRows));
    end[r] = uint8_t(clamp(range.end - first_key, 0, Attend::kRows));
  }
};
static_assert(sizeof(TileRows) <= Attend::kRowBytes);
// Of an A100's multiprocessor, which keeps 1 KiB a block for itself, two blocks of D = 128 have room.
static_assert(2 * ((2 + Attend::kSlots) * Attend::kRows * 128 * 2 + Attend::kRowBytes + 1024) <= 164 * 1024);

// The queries that attend to any of the 64 keys from `key` on, as their ranges tell.
struct Queries {
  int64_t first, last;
  DEVICE Queries(const AttentionInput& in, int64_t b, int64_t key) : first(0), last(in.queries) {
    const int64_t start = first_position(in, b);
    if (in.causal || in.window > 0) first = clamp(key - start, 0, in.queries);
    if (in.window > 0)
      last = clamp(key + Attend::kRows - 1 + (in.window < kFar ? in.window : kFar) - start, first, in.queries);
    if (key >= key_length(in, b)) last = first;
  }
};

template <class T, int kWidth>
__global__ void __launch_bounds__(Attend::kThreads, 2) attention_dk_dv_sm80(const Backward backward) {
  constexpr int kRows = Attend::kRows, kColumns = kWidth ? kWidth : Attend::kColumns;
  const AttentionBackward& a = backward.args;
  const AttentionInput& in = a.in;
  const int D = kWidth ? kWidth : int(in.head_dim), Dv = kWidth ? kWidth : int(in.value_dim);
  const int wider = D > Dv ? D : Dv, pitch = Attend::pitch_of(wider), tile = kRows * pitch;
  const TilePlace place(in, in.keys, kWidth ? 1 : int(ceil_div(wider, kColumns)));
  const int first_key = place.tile * kRows, first_column = place.column_block * kColumns;
  const HeadRows rows(in, place.head);
  const auto columns_of = [&](int width) {
    return width - first_column < 0 ? 0 : width - first_column < kColumns ? width - first_column : kColumns;
  };
  const int key_columns = columns_of(D), value_columns = columns_of(Dv);
  T* const k = &shared_memory<T>();
  T* const v = k + tile;
  T* const ring = v + tile;
  TileRows& t = *reinterpret_cast<TileRows*>(ring + Attend::kSlots * tile);
  const TileSource<T> from_q(in.q, in.q_strides), from_k(in.k, in.k_strides), from_v(in.v, in.v_strides),
      from_dout(a.dout, a.dout_strides);

  const Queries queries(in, rows.b, first_key);
  const int first_tile = int(queries.first * rows.group) / kRows;
  const int last_tile = queries.first < queries.last ? int(ceil_div(queries.last * rows.group, kRows)) : first_tile;
  // Queries and gradients in turn.
  const auto slot = [&](int i, int which) { return ring + ((i - first_tile) * 2 + which) % Attend::kSlots * tile; };
  const auto load_queries = [&](int i) {
    if (i < last_tile) from_q.load_rows(slot(i, 0), pitch, D, rows, i * kRows);
    cp_async_commit();
  };
  from_k.load_tokens(k, pitch, D, rows.b, rows.key_head, first_key, int(in.keys));
  from_v.load_tokens(v, pitch, Dv, rows.b, rows.key_head, first_key, int(in.keys));
  load_queries(first_tile);

  const int lane = Attend::lane(), warp_start = Attend::warp() * 16, warp_key = first_key + warp_start;
  const bool used = warp_key < in.keys, masked = in.mask_allowed || in.mask_added;
  float dk[kColumns / 8][4] = {}, dv[kColumns / 8][4] = {};
  for (int i = first_tile; i < last_tile; ++i) {
    cp_async_wait<0>();
    __syncthreads();
    from_dout.load_rows(slot(i, 1), pitch, Dv, rows, i * kRows);
    cp_async_commit();
    load_queries(i + 1);
    t.load(backward, rows, i * kRows, first_key);
    // Of half the rows at a time, for which there are registers.
    float s[4][4], ds[4][4];
    if (used) dot_tiles(k, slot(i, 0), pitch, (D + 15) / 16, s);
    cp_async_wait<1>();
    __syncthreads();
    if (!used) continue;
    // A row without a part attends to nothing.
    bool leaves_out = masked;
#pragma unroll
    for (int r = lane; r < kRows; r += 32) leaves_out |= warp_start < t.begin[r] || warp_start + 16 > t.end[r];
    const bool partial = __any_sync(~0u, leaves_out);
    Weights w, dw;
    w.attended = ~0u;
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      const int column = 8 * n + lane % 4 * 2;
      if (n == 4) dot_tiles(k, slot(i, 0) + 8 * n * pitch, pitch, (D + 15) / 16, s);
      if (n % 4 == 0) dot_tiles(v, slot(i, 1) + 8 * n * pitch, pitch, (Dv + 15) / 16, ds);
      const TwoRows two = {load<2>(t.base + column), load<2>(t.factor + column), load<2>(t.delta + column)};
      two.round<T>(n, float(in.scale), partial, s[n % 4], ds[n % 4], w, dw, [&](int h, float& score) {
        const int key = warp_start + lane / 4 + h / 2 * 8, r = column + h % 2;
        if (key < t.begin[r] || key >= t.end[r]) return false;
        if (!masked) return true;
        const int row = i * kRows + r;
        const int64_t start = mask_start(in, rows.b, rows.head(row), rows.query(row), 0);
        return masked_score<T>(in, start + (first_key + key) * in.mask_key, score);
      });
    }
    dw.attended = w.attended;
    multiply_columns<T, kColumns / 16>(w, partial, slot(i, 1), pitch, first_column / Attend::kChunk,
                                       (value_columns + 15) / 16, add_to(dv));
    multiply_columns<T, kColumns / 16>(dw, partial, slot(i, 0), pitch, first_column / Attend::kChunk,
                                       (key_columns + 15) / 16, add_to(dk));
  }
  cp_async_wait<0>();
  if (!used) return;
  const auto start_in = [&](AttentionStrides strides) {
    return [=, &rows, &in](int h) -> int64_t {
      const int key = warp_key + lane / 4 + 8 * h;
      return key >= in.keys ? -1 : rows.b * strides.batch + key * strides.token + rows.key_head * strides.head;
    };
  };
  store_vectors<T, kColumns / 16>(a.dk, a.wide, first_column, key_columns, dk, float(in.scale), start_in(a.dk_strides));
  store_vectors<T, kColumns / 16>(a.dv, a.wide, first_column, value_columns, dv, 1.0f, start_in(a.dv_strides));
}

// Starts the kernel of the op's width, of which a block has 64 of `vectors` and some of `columns`.
template <class Kernel>
static void start_backward_sm80(const Backward& backward, Kernel of_64, Kernel of_128, Kernel of_any, int64_t vectors,
                                int64_t columns) {
  const AttentionInput& in = backward.args.in;
  const int width = Attend::width(in);
  const int64_t tiles = in.batch * in.key_heads * ceil_div(vectors, Attend::kRows);
  start(width == 64    ? of_64
        : width == 128 ? of_128
                       : of_any,
        tiles * (width ? 1 : ceil_div(columns, Attend::kColumns)), Attend::kThreads,
        Attend::shared_bytes(in, 2) + Attend::kRowBytes, backward);
}
template <class T>
static void dq_by_sm80(const Backward& backward) {
  const AttentionInput& in = backward.args.in;
  start_backward_sm80(backward, attention_dq_sm80<T, 64>, attention_dq_sm80<T, 128>, attention_dq_sm80<T, 0>,
                      in.queries * (in.heads / in.key_heads), in.head_dim);
}
template <class T>
static void dk_dv_by_sm80(const Backward& backward) {
  const AttentionInput& in = backward.args.in;
  start_backward_sm80(backward, attention_dk_dv_sm80<T, 64>, attention_dk_dv_sm80<T, 128>, attention_dk_dv_sm80<T, 0>,
                      in.keys, Attend::wider(in));
}
template <class T>
static void backward_sm80(const Backward& backward) {
  if (backward.args.dq) dq_by_sm80<T>(backward);
  if (backward.args.dk) dk_dv_by_sm80<T>(backward);
}

}  // namespace pyformer::cuda
