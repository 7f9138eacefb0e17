// Attention's forward pass on the tensor cores of sm_90a: see attention_sm90.h. A block has 128 rows of a key head, and
// keys and values come in turn.
#pragma once
#include "pyformer/ops/attention/attention_sm90.h"

namespace pyformer::cuda {

struct ForwardSm90 {
  TensorMap q, k, v;
  AttentionForward a;
};

template <class T, int kWidth>
struct AttentionForwardSm90 : AttendSm90<T, kWidth> {
  using Base = AttendSm90<T, kWidth>;
  using Base::kConsumers, Base::kSlots, Base::kTileBytes;
  using typename Base::Tile, typename Base::Turn;

  struct Shared {
    Tile q[kConsumers], tiles[kSlots];
    float total[kWidth / 8 * 4][128 * kConsumers];  // of all ranges so far: there are no registers for it
    typename Base::Votes votes;
    Ring<kSlots> ring;
    Mbarrier q_full;
  };

  static DEVICE void produce(const ForwardSm90& args, Shared& s, const HeadRows& rows, int first_row,
                             const KeyBlocks& blocks) {
    mbarrier_arrive_expect(&s.q_full, kConsumers * kTileBytes);
    for (int i = 0; i < kConsumers; ++i)
      Base::load_rows(s.q[i], args.q, &s.q_full, rows, first_row + i * Attend::kRows);
    Turn turn;
    const auto load = [&](const TensorMap& map, int block) {
      Mbarrier* const full = s.ring.expect(turn, kTileBytes);
      Base::load_tokens(s.tiles[turn.slot], map, full, rows, block * Attend::kRows);
      turn.next();
    };
    for (int block = blocks.first; block < blocks.last; ++block) load(args.k, block), load(args.v, block);
  }

  static DEVICE void consume(const AttentionForward& a, Shared& s, const HeadRows& rows, int first_row,
                             const KeyBlocks& blocks) {
    const AttentionInput& in = a.in;
    constexpr int kRows = Attend::kRows, kRangeBlocks = int(kAttentionKeyRange / kAttentionBlock);
    const OwnRows own(in, rows, first_row);
    const OwnBlocks mine(in, rows, first_row + Base::warpgroup() * kRows);
    const bool masked = in.mask_allowed || in.mask_added;
    float o[kWidth / 8][4] = {};
    const auto total = [&](int n, int h) -> float& { return s.total[4 * n + h][threadIdx.x]; };
#pragma unroll
    for (int i = 0; i < kWidth / 2; ++i) total(0, i) = 0;
    RunningSums sums;
    RangeSums ranges[2];
    sums.start();
    Turn turn;
    mbarrier_wait(&s.q_full, 0);
    for (int block = blocks.first; block < blocks.last; ++block) {
      if (!mine.has(block)) {
        Base::pass(s.ring, turn, 2);
        continue;
      }
      Weights w;
      float score[8][4], alpha[2];
      bool partial = own.is_partial(in, block * kRows), some_partial = mine.is_partial(block * kRows);
      s.ring.wait(turn);
      Base::dot(s.q[Base::warpgroup()], s.tiles[turn.slot], 0, score);
      s.ring.give_back(turn);
      turn.next();
      w.attended = finish_scores<T, false>(in, own, block * kRows, partial, score);
      if (masked) {
        mask_scores<T>(in, own, block * kRows, score, w);
        Base::ask(s.votes, block, w, partial, some_partial);
      }
      sums.template add<T>(score, w, alpha);
      s.ring.wait(turn);
      Base::multiply(w, partial, some_partial, s.tiles[turn.slot], [&](int n, const float (&chain)[4]) {
#pragma unroll
        for (int h = 0; h < 4; ++h) o[n][h] = fma(o[n][h], alpha[h / 2], chain[h]);
      });
      s.ring.give_back(turn);
      turn.next();
      if ((block + 1) % kRangeBlocks == 0 || block + 1 == mine.last) end_range(sums, ranges, o, total);
    }
    store_rows(a, rows, own, ranges, total);
  }

  template <class Total>
  static DEVICE void store_rows(const AttentionForward& a, const HeadRows& rows, const OwnRows& own,
                                const RangeSums (&ranges)[2], const Total& total) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = own.row[h];
      if (row >= rows.count) continue;
      const int64_t out = rows.b * a.out_strides.batch + rows.query(row) * a.out_strides.token +
                          rows.head(row) * a.out_strides.head + Attend::lane() % 4 * 2;
#pragma unroll
      for (int n = 0; n < kWidth / 8; ++n) {
        const float first = ranges[h].finish(total(n, 2 * h)), second = ranges[h].finish(total(n, 2 * h + 1));
        if (a.wide)
          store(static_cast<float*>(a.out) + out + 8 * n, Packed<float, 2>{first, second});
        else
          store(static_cast<T*>(a.out) + out + 8 * n, Packed<T, 2>{rounded<T>(first), rounded<T>(second)});
      }
      if (Attend::lane() % 4) continue;
      const int64_t at = rows.at(a.in, row);
      static_cast<float*>(a.row_max)[at] = ranges[h].m;
      static_cast<float*>(a.row_sum)[at] = ranges[h].l;
    }
  }
};

template <class T, int kWidth>
__global__ void __launch_bounds__(AttendSm90<T, kWidth>::kThreads, 1)
    attention_forward_sm90(const __grid_constant__ ForwardSm90 args) {
#if PF_CODE_FOR_SM90
  using Kernel = AttentionForwardSm90<T, kWidth>;
  auto& s = shared_memory<typename Kernel::Shared>();
  const AttentionInput& in = args.a.in;
  const TilePlace place(in, in.queries * divided_small(in.heads, in.key_heads).quotient, 1, Kernel::kHeight);
  const HeadRows rows(in, place.head);
  const int first_row = place.tiles_behind * Kernel::kHeight;
  const KeyBlocks blocks(in, rows, first_row, Kernel::kHeight);
  s.ring.template run<Kernel::kConsumers>([&] { Kernel::produce(args, s, rows, first_row, blocks); },
                                          [&] { Kernel::consume(args.a, s, rows, first_row, blocks); }, &s.q_full);
#endif
}

// Results are stored two at a time. Of few tiles sm_80's kernels make more by splitting keys.
inline bool forward_sm90_takes(const AttentionForward& a) {
  const AttentionInput& in = a.in;
  const AttentionStrides out = a.out_strides;
  return sm90_takes(in) &&
         has_enough_tiles(in,
                          in.batch * in.key_heads * ceil_div(in.queries * (in.heads / in.key_heads), Attend::kRows)) &&
         reinterpret_cast<uintptr_t>(a.out) % 8 == 0 && (out.batch | out.token | out.head) % 2 == 0;
}

template <class T, int kWidth>
static void start_forward_sm90(const AttentionForward& a) {
  using Kernel = AttentionForwardSm90<T, kWidth>;
  const AttentionInput& in = a.in;
  const ForwardSm90 args = {Kernel::rows_map(in, in.q, in.q_strides), Kernel::tokens_map(in, in.k, in.k_strides),
                            Kernel::tokens_map(in, in.v, in.v_strides), a};
  const int64_t tiles = ceil_div(in.queries * (in.heads / in.key_heads), Kernel::kHeight);
  start(attention_forward_sm90<T, kWidth>, in.batch * in.key_heads * tiles, Kernel::kThreads,
        sizeof(typename Kernel::Shared), args);
}

template <class T>
static void forward_sm90(const AttentionForward& a) {
  a.in.head_dim == 64 ? start_forward_sm90<T, 64>(a) : start_forward_sm90<T, 128>(a);
}

}  // namespace pyformer::cuda
