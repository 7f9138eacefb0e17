// Attention of 16-bit floats on the tensor cores of sm_90a, for heads of 64 or 128: what its kernels share. A block of
// three warpgroups has 128 rows of its own. One thread of the last warpgroup brings those, and tiles of 64 others
// through a ring, by bulk copies (TMA); the two others have 64 rows each and multiply by wgmma. What is summed, and
// how, is at the head of attention_sm80.h, so bits are those of its kernels where tensor cores add up alike in mma and
// wgmma.
//
// Where some row does not attend to all of a tile, mma multiplies weights with its columns: an infinity there must be
// seen and left out. Masks and few rows are left to sm_80's kernels.
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

// Bulk copies want multiples of 16 bytes.
inline bool bulk_copies_take(const AttentionInput& in, const void* data, AttentionStrides s) {
  const auto fits = [](int64_t stride) { return stride > 0 && stride % 8 == 0; };
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && fits(s.token) && fits(s.head) &&
         (in.batch == 1 || fits(s.batch));
}
// A tile of 64 rows must be whole queries.
inline bool sm90_takes(const AttentionInput& in) {
  constexpr int64_t kMost = int64_t(1) << 30;
  if (!Attend::width(in) || in.mask_allowed || in.mask_added || in.batch <= 0 || in.keys <= 0) return false;
  const int64_t group = in.heads / in.key_heads, rows = in.queries * group;
  return Attend::kRows % group == 0 && rows > Attend::kRows && rows < kMost && in.keys < kMost && in.heads < kMost &&
         bulk_copies_take(in, in.q, in.q_strides) && bulk_copies_take(in, in.k, in.k_strides) &&
         bulk_copies_take(in, in.v, in.v_strides);
}

}  // namespace pyformer::cuda
