// Attention's backward pass on the tensor cores of sm_90a, in two kernels as attention_backward_sm80.h has it, with the
// same sums: see attention_sm90.h. dq has 128 rows of a key head a block, and keys and values come in turn; dk and dv
// have 128 keys, and what comes are queries, with what is to be known of them, and gradients of the result.
#pragma once
#include "pyformer/ops/attention/attention_backward_sm80.h"
#include "pyformer/ops/attention/attention_sm90.h"

namespace pyformer::cuda {

// What dk and dv need of 64 rows, from which to which key each attends, to none where it takes no part, and where its
// mask is.
struct RowTile {
  float base[Attend::kRows], factor[Attend::kRows], delta[Attend::kRows];
  int begin[Attend::kRows], end[Attend::kRows];
  int64_t mask_at[Attend::kRows];
};
struct RowTiles {
  Backward backward;
  RowTile* to;
  int64_t tiles;  // of a key head
};
// Row i % 64 of tile i / 64.
struct FillRowTile {
  using Args = RowTiles;
  static DEVICE void at(const Args& a, int64_t i) {
    const AttentionInput& in = a.backward.args.in;
    const Divided tile = divided(i, Attend::kRows), place = divided(i, a.tiles * Attend::kRows);
    const HeadRows rows(in, place.quotient);
    const int row = int(place.rest), r = int(tile.rest);
    RowTile& t = a.to[tile.quotient];
    t.base[r] = t.factor[r] = t.delta[r] = 0, t.begin[r] = t.end[r] = 0, t.mask_at[r] = 0;
    if (row >= rows.count) return;
    const RowNumbers numbers(a.backward, rows.at(in, row));
    t.base[r] = numbers.base, t.factor[r] = numbers.factor, t.delta[r] = numbers.delta;
    if (numbers.factor == 0.0f) return;
    const KeyRange range = key_range(in, rows.b, rows.query(row));
    t.begin[r] = int(range.begin), t.end[r] = int(range.end);
    t.mask_at[r] = mask_start(in, rows.b, rows.head(row), rows.query(row), 0);
  }
};

struct BackwardSm90 {
  TensorMap q, k, v, dout;
  Backward backward;
  const RowTile* row_tiles;
};

template <class T, int kWidth>
struct AttentionDqSm90 : AttendSm90<T, kWidth> {
  using Base = AttendSm90<T, kWidth>;
  using Base::kConsumers, Base::kSlots, Base::kTileBytes;
  using typename Base::Tile, typename Base::Turn;

  struct Shared {
    Tile q[kConsumers], dout[kConsumers], tiles[kSlots];
    typename Base::Votes votes;
    Ring<kSlots> ring;
    Mbarrier own_full;
  };

  static DEVICE void produce(const BackwardSm90& args, Shared& s, const HeadRows& rows, int first_row,
                             const KeyBlocks& blocks) {
    mbarrier_arrive_expect(&s.own_full, 2 * kConsumers * kTileBytes);
    for (int i = 0; i < kConsumers; ++i) {
      Base::load_rows(s.q[i], args.q, &s.own_full, rows, first_row + i * Attend::kRows);
      Base::load_rows(s.dout[i], args.dout, &s.own_full, rows, first_row + i * Attend::kRows);
    }
    Turn turn;
    const auto load = [&](const TensorMap& map, int block) {
      Mbarrier* const full = s.ring.expect(turn, kTileBytes);
      Base::load_tokens(s.tiles[turn.slot], map, full, rows, block * Attend::kRows);
      turn.next();
    };
    for (int block = blocks.first; block < blocks.last; ++block) load(args.k, block), load(args.v, block);
  }

  static DEVICE void consume(const Backward& backward, Shared& s, const HeadRows& rows, int first_row,
                             const KeyBlocks& blocks) {
    const AttentionBackward& a = backward.args;
    const AttentionInput& in = a.in;
    constexpr int kRows = Attend::kRows;
    const OwnRows own(in, rows, first_row);
    const OwnBlocks mine(in, rows, first_row + Base::warpgroup() * kRows);
    const bool masked = in.mask_allowed || in.mask_added;
    const auto numbers = [&](int h) {
      return RowNumbers(backward, rows.at(in, own.row[h] < rows.count ? own.row[h] : rows.count - 1));
    };
    const RowNumbers row[2] = {numbers(0), numbers(1)};
    float dq[kWidth / 8][4] = {};
    Turn turn;
    mbarrier_wait(&s.own_full, 0);
    for (int block = blocks.first; block < blocks.last; ++block) {
      if (!mine.has(block)) {
        Base::pass(s.ring, turn, 2);
        continue;
      }
      const Turn keys = turn;
      turn.next();
      bool partial = own.is_partial(in, block * kRows), some_partial = mine.is_partial(block * kRows);
      Weights w;
      float score[8][4], ds[8][4];
      s.ring.wait(keys);
      Base::dot(s.q[Base::warpgroup()], s.tiles[keys.slot], 0, score);
      w.attended = finish_scores<T, false>(in, own, block * kRows, partial, score);
      if (masked) {
        mask_scores<T>(in, own, block * kRows, score, w);
        Base::ask(s.votes, block, w, partial, some_partial);
      }
      s.ring.wait(turn);
      Base::dot(s.dout[Base::warpgroup()], s.tiles[turn.slot], 0, ds);
      s.ring.give_back(turn);
      turn.next();
      round_score_gradients<T>(row, score, ds, w);
      Base::multiply(w, partial, some_partial, s.tiles[keys.slot], add_to(dq));
      s.ring.give_back(keys);
    }
    clear_without_part(row, dq);
    store_vectors<T, kWidth / 16>(a.dq, a.wide, 0, kWidth, dq, float(in.scale), [&](int h) -> int64_t {
      if (own.row[h] >= rows.count) return -1;
      return rows.b * a.dq_strides.batch + rows.query(own.row[h]) * a.dq_strides.token +
             rows.head(own.row[h]) * a.dq_strides.head;
    });
  }
};

template <class T, int kWidth>
__global__ void __launch_bounds__(AttendSm90<T, kWidth>::kThreads, 1)
    attention_dq_sm90(const __grid_constant__ BackwardSm90 args) {
#if PF_CODE_FOR_SM90
  using Kernel = AttentionDqSm90<T, kWidth>;
  auto& s = shared_memory<typename Kernel::Shared>();
  const AttentionInput& in = args.backward.args.in;
  const TilePlace place(in, in.queries * divided_small(in.heads, in.key_heads).quotient, 1, Kernel::kHeight);
  const HeadRows rows(in, place.head);
  const int first_row = place.tiles_behind * Kernel::kHeight;
  const KeyBlocks blocks(in, rows, first_row, Kernel::kHeight);
  s.ring.template run<Kernel::kConsumers>([&] { Kernel::produce(args, s, rows, first_row, blocks); },
                                          [&] { Kernel::consume(args.backward, s, rows, first_row, blocks); },
                                          &s.own_full);
#endif
}

// The tiles of rows that attend to any of 64 keys.
struct QueryTiles {
  int first = 0, last = 0;
  DEVICE QueryTiles(const AttentionInput& in, const HeadRows& rows, int key) {
    if (key >= in.keys) return;
    const Queries queries(in, rows.b, key);
    if (queries.first >= queries.last) return;
    first = int(queries.first * rows.group) / Attend::kRows;
    last = int(ceil_div(queries.last * rows.group, Attend::kRows));
  }
  DEVICE bool has(int i) const { return i >= first && i < last; }
  // With those of the 64 keys behind.
  DEVICE QueryTiles joined(const QueryTiles& next) const {
    if (next.first >= next.last) return *this;
    if (first >= last) return next;
    QueryTiles all = next;
    all.first = first < next.first ? first : next.first;
    all.last = last > next.last ? last : next.last;
    return all;
  }
};

template <class T, int kWidth>
struct AttentionDkDvSm90 : AttendSm90<T, kWidth> {
  using Base = AttendSm90<T, kWidth>;
  using Base::kConsumers, Base::kSlots, Base::kTileBytes;
  using typename Base::Tile, typename Base::Turn;
  // Heads of 128 leave no registers for dk's weights while dv's are multiplied: each thread puts its own away.
  static constexpr bool kPutsAway = kWidth == 128;

  struct Shared {
    Tile k[kConsumers], v[kConsumers], tiles[kSlots];
    alignas(16) RowTile rows[kSlots];
    alignas(16) uint32_t weights[kPutsAway ? 4 : 1][128 * kConsumers][4];
    typename Base::Votes votes;
    Ring<kSlots> ring;
    Mbarrier own_full;
  };

  static DEVICE void produce(const BackwardSm90& args, Shared& s, const HeadRows& rows, const RowTile* row_tiles,
                             int first_key, const QueryTiles& tiles) {
    mbarrier_arrive_expect(&s.own_full, 2 * kConsumers * kTileBytes);
    for (int i = 0; i < kConsumers; ++i) {
      Base::load_tokens(s.k[i], args.k, &s.own_full, rows, first_key + i * Attend::kRows);
      Base::load_tokens(s.v[i], args.v, &s.own_full, rows, first_key + i * Attend::kRows);
    }
    Turn turn;
    for (int i = tiles.first; i < tiles.last; ++i) {
      Mbarrier* full = s.ring.expect(turn, kTileBytes + sizeof(RowTile));
      Base::load_rows(s.tiles[turn.slot], args.q, full, rows, i * Attend::kRows);
      load_bulk(&s.rows[turn.slot], row_tiles + i, sizeof(RowTile), full);
      turn.next();
      full = s.ring.expect(turn, kTileBytes);
      Base::load_rows(s.tiles[turn.slot], args.dout, full, rows, i * Attend::kRows);
      turn.next();
    }
  }

  // Whether some row of a tile leaves out some of `count` keys.
  static DEVICE bool leaves_out(const RowTile& t, int first_key, int count) {
    bool any = false;
#pragma unroll
    for (int r = Attend::lane(); r < Attend::kRows; r += 32)
      any |= first_key < t.begin[r] || first_key + count > t.end[r];
    return __any_sync(~0u, any);
  }

  static DEVICE void put_away(Shared& s, int k, const uint32_t (&p)[4]) {
    store(s.weights[k][threadIdx.x], Packed<uint32_t, 4>{p[0], p[1], p[2], p[3]});
  }
  static DEVICE void take_back(Shared& s, Weights& dw) {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const Packed<uint32_t, 4> p = load<4>(s.weights[k][threadIdx.x]);
#pragma unroll
      for (int i = 0; i < 4; ++i) dw.p[k][i] = p[i];
    }
  }

  // The rounded weights of dv and dk, for the warpgroup's 64 keys and a tile's rows; of half of those at a time, for
  // which there are registers.
  static DEVICE void weigh(const AttentionInput& in, Shared& s, const Tile& q, const Tile& dout, const RowTile& t,
                           int warp_key, bool partial, Weights& w, Weights& dw) {
    const int lane = Attend::lane(), last = int(in.keys) - 1;
    const auto key = [&](int e) { return warp_key + lane / 4 + e % 4 / 2 * 8; };
    w.attended = ~0u;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float score[4][4], gradient[4][4];
      Base::dot(s.k[Base::warpgroup()], q, 32 * half, score);
      const auto row = [&](int e) { return 32 * half + e / 4 * 8 + lane % 4 * 2 + e % 2; };
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int h = 0; h < 4; ++h) score[i][h] = score[i][h] * float(in.scale);
      uint32_t left_out = 0;
      if (in.mask_allowed || in.mask_added)
        left_out = left_out_by_mask<T>(in, reinterpret_cast<float (&)[16]>(score), [&](int e) {
          return t.mask_at[row(e)] + (key(e) < last ? key(e) : last) * in.mask_key;
        });
      Base::dot(s.v[Base::warpgroup()], dout, 32 * half, gradient);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int n = 4 * half + i, column = 8 * n + lane % 4 * 2;
        const TwoRows two = {load<2>(t.base + column), load<2>(t.factor + column), load<2>(t.delta + column)};
        two.round<T>(n, 1.0f, partial, score[i], gradient[i], w, dw, [&](int h, float&) {
          const int e = 4 * i + h;
          return key(e) >= t.begin[row(e)] && key(e) < t.end[row(e)] && !(left_out >> e & 1);
        });
        if constexpr (kPutsAway)
          if (n % 2) put_away(s, n / 2, dw.p[n / 2]);
      }
    }
    dw.attended = w.attended;
  }

  static DEVICE void consume(const AttentionBackward& a, Shared& s, const HeadRows& rows, int first_key,
                             const QueryTiles& tiles) {
    const AttentionInput& in = a.in;
    const int own_key = first_key + Base::warpgroup() * Attend::kRows;
    const int warp_key = first_key + Attend::warp() * 16;
    const QueryTiles mine(in, rows, own_key);
    const bool masked = in.mask_allowed || in.mask_added;
    float dk[kWidth / 8][4] = {}, dv[kWidth / 8][4] = {};
    Turn turn;
    mbarrier_wait(&s.own_full, 0);
    for (int i = tiles.first; i < tiles.last; ++i) {
      if (!mine.has(i)) {
        Base::pass(s.ring, turn, 2);
        continue;
      }
      const Turn queries = turn;
      turn.next();
      const Tile &q = s.tiles[queries.slot], &dout = s.tiles[turn.slot];
      const RowTile& t = s.rows[queries.slot];
      s.ring.wait(queries);
      bool partial = masked || leaves_out(t, warp_key, 16), some_partial = leaves_out(t, own_key, Attend::kRows);
      s.ring.wait(turn);
      Weights w, dw;
      weigh(in, s, q, dout, t, warp_key, partial, w, dw);
      if (masked) Base::ask(s.votes, i, w, partial, some_partial);
      Base::multiply(w, partial, some_partial, dout, add_to(dv));
      s.ring.give_back(turn);
      turn.next();
      if constexpr (kPutsAway) take_back(s, dw);
      Base::multiply(dw, partial, some_partial, q, add_to(dk));
      s.ring.give_back(queries);
    }
    const auto start_in = [&](AttentionStrides strides) {
      return [=, &rows, &in](int h) -> int64_t {
        const int key = warp_key + Attend::lane() / 4 + 8 * h;
        return key >= in.keys ? -1 : rows.b * strides.batch + key * strides.token + rows.key_head * strides.head;
      };
    };
    store_vectors<T, kWidth / 16>(a.dk, a.wide, 0, kWidth, dk, float(in.scale), start_in(a.dk_strides));
    store_vectors<T, kWidth / 16>(a.dv, a.wide, 0, kWidth, dv, 1.0f, start_in(a.dv_strides));
  }
};

template <class T, int kWidth>
__global__ void __launch_bounds__(AttendSm90<T, kWidth>::kThreads, 1)
    attention_dk_dv_sm90(const __grid_constant__ BackwardSm90 args) {
#if PF_CODE_FOR_SM90
  using Kernel = AttentionDkDvSm90<T, kWidth>;
  auto& s = shared_memory<typename Kernel::Shared>();
  const AttentionInput& in = args.backward.args.in;
  const TilePlace place(in, in.keys, 1, Kernel::kHeight);
  const HeadRows rows(in, place.head);
  const int first_key = place.tile * Kernel::kHeight;
  const QueryTiles tiles = QueryTiles(in, rows, first_key).joined(QueryTiles(in, rows, first_key + Attend::kRows));
  const RowTile* const row_tiles = args.row_tiles + place.head * ceil_div(rows.count, Attend::kRows);
  s.ring.template run<Kernel::kConsumers>([&] { Kernel::produce(args, s, rows, row_tiles, first_key, tiles); },
                                          [&] { Kernel::consume(args.backward.args, s, rows, first_key, tiles); },
                                          &s.own_full);
#endif
}

inline bool backward_sm90_takes(const AttentionBackward& a) {
  return sm90_takes(a.in) && bulk_copies_take(a.in, a.dout, a.dout_strides);
}

template <class T, int kWidth>
static void dq_by_sm90(const BackwardSm90& args) {
  using Kernel = AttentionDqSm90<T, kWidth>;
  const AttentionInput& in = args.backward.args.in;
  const int64_t tiles = ceil_div(in.queries * (in.heads / in.key_heads), Kernel::kHeight);
  start(attention_dq_sm90<T, kWidth>, in.batch * in.key_heads * tiles, Kernel::kThreads,
        sizeof(typename Kernel::Shared), args);
}

template <class T, int kWidth>
static void dk_dv_by_sm90(BackwardSm90 args) {
  using Kernel = AttentionDkDvSm90<T, kWidth>;
  const AttentionInput& in = args.backward.args.in;
  const int64_t heads = in.batch * in.key_heads;
  const int64_t tiles = ceil_div(in.queries * (in.heads / in.key_heads), Attend::kRows);
  const Scratch row_tiles(heads * tiles * int64_t(sizeof(RowTile)));
  const RowTiles fill = {args.backward, static_cast<RowTile*>(row_tiles.data()), tiles};
  start_items<FillRowTile>(fill, heads * tiles * Attend::kRows);
  args.row_tiles = fill.to;
  start(attention_dk_dv_sm90<T, kWidth>, heads * ceil_div(in.keys, Kernel::kHeight), Kernel::kThreads,
        sizeof(typename Kernel::Shared), args);
}

template <class T, int kWidth>
static void start_backward_sm90(const Backward& backward) {
  using Maps = AttendSm90<T, kWidth>;
  const AttentionBackward& a = backward.args;
  const AttentionInput& in = a.in;
  const BackwardSm90 args = {Maps::rows_map(in, in.q, in.q_strides),
                             Maps::tokens_map(in, in.k, in.k_strides),
                             Maps::tokens_map(in, in.v, in.v_strides),
                             Maps::rows_map(in, a.dout, a.dout_strides),
                             backward,
                             nullptr};
  if (a.dq) dq_by_sm90<T, kWidth>(args);
  if (a.dk) dk_dv_by_sm90<T, kWidth>(args);
}

template <class T>
static void backward_sm90(const Backward& backward) {
  backward.args.in.head_dim == 64 ? start_backward_sm90<T, 64>(backward) : start_backward_sm90<T, 128>(backward);
}

}  // namespace pyformer::cuda
