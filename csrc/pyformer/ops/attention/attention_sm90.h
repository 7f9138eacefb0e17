// Attention of 16-bit floats on the tensor cores of sm_90a, for heads of 64 or 128: what its kernels share. A block of
// three warpgroups has 128 rows of its own. One thread of the last warpgroup brings those, and tiles of 64 others
// through a ring, by bulk copies (TMA); the two others have 64 rows each and multiply by wgmma. What is summed, and
// how, is at the head of attention_sm80.h, so bits are those of its kernels where tensor cores add up alike in mma and
// wgmma.
//
// Where some row does not attend to all of a tile, mma multiplies weights with its columns: an infinity there must be
// seen and left out. With a mask, scores tell whether one does not, and warps tell each other. Few rows are left to
// sm_80's kernels.
#pragma once
#include "pyformer/cuda/ring.h"
#include "pyformer/ops/attention/attention_forward_sm80.h"

namespace pyformer::cuda {

template <class T, int kWidth>
struct AttendSm90 {
  static constexpr int kConsumers = 2, kHeight = kConsumers * Attend::kRows, kBoxes = kWidth / 64, kSlots = 4;
  static constexpr int kThreads = 128 * (1 + kConsumers), kTileBytes = kBoxes * kBoxElements * 2;
  using Turn = typename Ring<kSlots>::Turn;

  struct alignas(1024) Tile {
    T boxes[kBoxes][kBoxElements];
  };

  // What warps say to those of their warpgroup, one question in one half, the next in the other.
  struct Votes {
    alignas(16) uint32_t says[2][4 * kConsumers];
  };

  static DEVICE int warpgroup() { return Attend::warp() / 4; }

  // 64 vectors of q or dout, or of k or v.
  static DEVICE void load_rows(Tile& tile, const TensorMap& map, Mbarrier* full, const HeadRows& rows, int row) {
    const int group = int(rows.group);
    for (int box = 0; box < kBoxes; ++box)
      load_box(tile.boxes[box], &map, full, 64 * box, int(rows.key_head) * group, row / group, int(rows.b));
  }
  static DEVICE void load_tokens(Tile& tile, const TensorMap& map, Mbarrier* full, const HeadRows& rows, int token) {
    for (int box = 0; box < kBoxes; ++box)
      load_box(tile.boxes[box], &map, full, 64 * box, token, int(rows.key_head), int(rows.b));
  }
  // The maps for them.
  static TensorMap rows_map(const AttentionInput& in, const void* data, AttentionStrides s) {
    const int group = int(in.heads / in.key_heads);
    return map(data, {{kWidth, in.heads, in.queries, in.batch},
                      {2, s.head * 2, s.token * 2, batch_bytes(in, s)},
                      {64, group, Attend::kRows / group, 1},
                      Swizzle::bytes_128});
  }
  static TensorMap tokens_map(const AttentionInput& in, const void* data, AttentionStrides s) {
    return map(data, {{kWidth, in.keys, in.key_heads, in.batch},
                      {2, s.token * 2, s.head * 2, batch_bytes(in, s)},
                      {64, Attend::kRows, 1, 1},
                      Swizzle::bytes_128});
  }
  static TensorMap map(const void* data, const TensorMapShape<4>& shape) {
    return tensor_map(data, std::is_same_v<T, BFloat16> ? DType::bfloat16 : DType::float16, shape);
  }
  static int64_t batch_bytes(const AttentionInput& in, AttentionStrides s) {
    return (in.batch == 1 ? s.token : s.batch) * 2;
  }

  // s = x y^T for a warpgroup's 64 vectors x, and 8 * count vectors y of another tile.
  template <int count>
  static DEVICE void dot(const Tile& own, const Tile& other, int first, float (&s)[count][4]) {
    auto& sums = reinterpret_cast<float (&)[4 * count]>(s);
    wgmma_fence();
#pragma unroll
    for (int box = 0; box < kBoxes; ++box)
#pragma unroll
      for (int step = 0; step < 4; ++step)
        wgmma<T>(sums, box_descriptor<Major::k>(own.boxes[box], step),
                 box_descriptor<Major::k>(other.boxes[box] + 64 * first, step), box || step);
    wgmma_commit();
    wgmma_wait<0>(sums);
  }

  // use(n, chain) for 8 columns of a tile after the other: chain is the sum of weights times the tile's 64 vectors.
  // partial: some of the warp's vectors do not attend to all of them; some_partial: some of the warpgroup's.
  template <class Use>
  static DEVICE void multiply(const Weights& w, bool partial, bool some_partial, const Tile& tile, const Use& use) {
#pragma unroll
    for (int box = 0; box < kBoxes; ++box) {
      const auto use_column = [&](int n, const float (&chain)[4]) { use(8 * box + n, chain); };
      if (some_partial) {
        multiply_columns<T, 4>(w, partial, tile.boxes[box], 64, 0, 4, use_column);
        continue;
      }
      float chains[8][4];
      auto& sums = reinterpret_cast<float (&)[32]>(chains);
      wgmma_fence();
#pragma unroll
      for (int step = 0; step < 4; ++step)
        wgmma<T, Major::mn>(sums, w.p[step], box_descriptor<Major::mn>(tile.boxes[box], step), step);
      wgmma_commit();
      wgmma_wait<0>(sums);
#pragma unroll
      for (int n = 0; n < 8; ++n) use_column(n, chains[n]);
    }
  }

  // With a mask: whether some of the warp's vectors do not attend to all of a tile, and some of the warpgroup's. Tiles
  // are asked for one after the other.
  static DEVICE void ask(Votes& votes, int tile, const Weights& w, bool& partial, bool& some_partial) {
    partial = __any_sync(~0u, w.attended != ~0u);
    uint32_t* const says = votes.says[tile % 2];
    if (Attend::lane() == 0) says[Attend::warp()] = partial;
    bar_sync(1 + warpgroup(), 128);
    const Packed<uint32_t, 4> all = load<4>(says + 4 * warpgroup());
    some_partial = all[0] | all[1] | all[2] | all[3];
  }

  // Slots that the other warpgroup alone works on.
  static DEVICE void pass(Ring<kSlots>& ring, Turn& turn, int count) {
    for (int i = 0; i < count; ++i, turn.next()) ring.wait(turn), ring.give_back(turn);
  }
};

// Which blocks the 64 rows of a warpgroup attend to.
struct OwnBlocks {
  int first = 0, last = 0, every_begin = 0, every_end = 0;
  DEVICE OwnBlocks(const AttentionInput& in, const HeadRows& rows, int first_row) {
    if (first_row >= rows.count) return;
    const KeyBlocks blocks(in, rows, first_row);
    first = blocks.first, last = blocks.last;
    const int end = first_row + Attend::kRows, last_row = end < rows.count ? end - 1 : rows.count - 1;
    every_begin = int(key_range(in, rows.b, rows.query(last_row)).begin);
    every_end = int(key_range(in, rows.b, rows.query(first_row)).end);
  }
  DEVICE bool has(int block) const { return block >= first && block < last; }
  DEVICE bool is_partial(int first_key) const {
    return first_key < every_begin || first_key + Attend::kRows > every_end;
  }
};

// What a mask leaves out of scores, bit i for s[i], where its element is at(i); what it adds goes to them. All elements
// are read before one is looked at, which sm_80's kernels have no registers for.
template <class T, int count, class At>
DEVICE uint32_t left_out_by_mask(const AttentionInput& in, float (&s)[count], const At& at) {
  uint32_t left_out = 0;
  if (in.mask_allowed) {
#pragma unroll
    for (int i = 0; i < count; ++i)
      if (!in.mask_allowed[at(i)]) left_out |= uint32_t(1) << i;
    return left_out;
  }
  const auto add = [&](const auto* mask) {
#pragma unroll
    for (int i = 0; i < count; ++i) {
      const float added = widened(mask[at(i)]);
      s[i] = s[i] + added;
      if (added == -kInfinity<float>) left_out |= uint32_t(1) << i;
    }
  };
  if (in.mask_wide)
    add(static_cast<const float*>(in.mask_added));
  else
    add(static_cast<const T*>(in.mask_added));
  return left_out;
}

// From scores that finish_scores has finished without a mask to those with it, and the bits of what is attended.
template <class T>
DEVICE void mask_scores(const AttentionInput& in, const OwnRows& own, int first_key, float (&s)[8][4], Weights& w) {
  const int first = first_key + Attend::lane() % 4 * 2, last = int(in.keys) - 1;
  w.attended &= ~left_out_by_mask<T>(in, reinterpret_cast<float (&)[32]>(s), [&](int i) {
    const int key = first + i / 4 * 8 + i % 2;
    return own.mask_at[i % 4 / 2] + (key < last ? key : last) * in.mask_key;
  });
#pragma unroll
  for (int n = 0; n < 8; ++n)
#pragma unroll
    for (int h = 0; h < 4; ++h)
      if (!(w.attended & Weights::bit(n, h))) s[n][h] = -kInfinity<float>;
}

// Bulk copies want multiples of 16 bytes.
inline bool bulk_copies_take(const AttentionInput& in, const void* data, AttentionStrides s) {
  const auto fits = [](int64_t stride) { return stride > 0 && stride % 8 == 0; };
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && fits(s.token) && fits(s.head) &&
         (in.batch == 1 || fits(s.batch));
}
// A tile of 64 rows must be whole queries.
inline bool sm90_takes(const AttentionInput& in) {
  constexpr int64_t kMost = int64_t(1) << 30;
  if (!Attend::width(in) || in.batch <= 0 || in.keys <= 0) return false;
  const int64_t group = in.heads / in.key_heads, rows = in.queries * group;
  return Attend::kRows % group == 0 && rows > Attend::kRows && rows < kMost && in.keys < kMost && in.heads < kMost &&
         bulk_copies_take(in, in.q, in.q_strides) && bulk_copies_take(in, in.k, in.k_strides) &&
         bulk_copies_take(in, in.v, in.v_strides);
}

}  // namespace pyformer::cuda
