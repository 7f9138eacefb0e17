// Products of 16-bit floats on the tensor cores of sm_90a: a block of three warpgroups takes one tile after the other,
// 128 rows by 192 columns, or by 64 where there are few. One thread of the last warpgroup brings strips of 64 k by
// bulk copies (TMA) through a ring in shared memory; the two others multiply 64 rows each by wgmma. An element's sum is
// that of matmul_sm80.h, and wgmma adds up as mma does on such a device: both have the same bits there.
//
// Two sets of registers, a chain and the sum of those before, are why tiles are not wider: 256 columns are spilled.
#pragma once
#include <algorithm>

#include "pyformer/cuda/ring.h"
#include "pyformer/ops/matmul/matmul_tiles.h"

namespace pyformer::cuda {

struct GemmSm90 {
  TensorMap a, b;  // boxes of 64 by 64, an item of the batch each
  Gemm g;
  int64_t tiles;
};

template <int width>
struct Sm90 {
  static constexpr int kBox = 64, kConsumers = 2;
  static constexpr int kHeight = kConsumers * kBox, kWidth = width, kBoxes = kWidth / kBox;
  static constexpr int kStages = 20 / (kConsumers + kBoxes), kThreads = 128 * (1 + kConsumers);
  static constexpr int kPitch = kBox + 8;  // of 16 rows of a finished box: two rows of lanes lie in different banks

  struct Shared {
    alignas(1024) uint16_t a[kStages][kConsumers][kBoxElements], b[kStages][kBoxes][kBoxElements];
    float finished[4 * kConsumers][16 * kPitch];  // a warp's
    Ring<kStages> ring;
  };
  using Turn = typename Ring<kStages>::Turn;

  template <class Use>
  static DEVICE void each_tile(const GemmSm90& args, const Use& use) {
    for (int64_t i = blockIdx.x; i < args.tiles; i += gridDim.x) use(tile_of(args.g, kHeight, kWidth, i));
  }

  // A box of vectors by k.
  template <Major major>
  static DEVICE void load(uint16_t* box, const TensorMap& map, Mbarrier* full, int64_t vector, int64_t k,
                          int64_t batch) {
    if constexpr (major == Major::k)
      load_box(box, &map, full, int(k), int(vector), int(batch));
    else
      load_box(box, &map, full, int(vector), int(k), int(batch));
  }

  template <Major a_major, Major b_major>
  static DEVICE void produce(const GemmSm90& args, Shared& s) {
    const Gemm& g = args.g;
    Turn turn;
    each_tile(args, [&](Tile tile) {
      const int64_t a_batch = g.a.batch_stride ? tile.batch : 0, b_batch = g.b.batch_stride ? tile.batch : 0;
      for (int64_t k = 0; k < g.k; k += kBox, turn.next()) {
        Mbarrier* const full = s.ring.expect(turn, (kConsumers + kBoxes) * kBoxElements * 2);
        for (int i = 0; i < kConsumers; ++i)
          load<a_major>(s.a[turn.slot][i], args.a, full, tile.row + kBox * i, k, a_batch);
        for (int i = 0; i < kBoxes; ++i)
          load<b_major>(s.b[turn.slot][i], args.b, full, tile.col + kBox * i, k, b_batch);
      }
    });
  }

  // One strip: this warpgroup's 64 rows.
  template <class T, Major a_major, Major b_major>
  static DEVICE void multiply(Shared& s, const Turn& turn, bool continues, float (&chain)[kWidth / 2]) {
    const uint16_t *a = s.a[turn.slot][warpgroup()], *b = s.b[turn.slot][0];
    s.ring.wait(turn);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < kBox / 16; ++step)
      wgmma<T, a_major, b_major>(chain, box_descriptor<a_major>(a, step), box_descriptor<b_major>(b, step),
                                 continues || step);
    wgmma_commit();
    wgmma_wait<0>(chain);
    s.ring.give_back(turn);
  }

  // The warp's 16 rows of a tile, a box of columns after the other through shared memory, so that lanes next to each
  // other have columns next to each other.
  template <class T>
  static DEVICE void finish(const Gemm& g, Tile tile, Shared& s, const float (&sum)[kWidth / 2]) {
    float* const own = s.finished[warp()];
    const int64_t first_row = tile.row + warp() * 16;
#pragma unroll
    for (int box = 0; box < kBoxes; ++box) {
      const int64_t first_col = tile.col + box * kBox;
      if (first_row >= g.m || first_col >= g.n) continue;
      __syncwarp();
#pragma unroll
      for (int i = 0; i < kBox / 8; ++i)
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const float* two = sum + box * kBox / 2 + 4 * i + 2 * h;
          store(own + (lane() / 4 + 8 * h) * kPitch + 8 * i + lane() % 4 * 2, Packed<float, 2>{two[0], two[1]});
        }
      __syncwarp();
      with_activation(g.epilogue.activation, [&]<class F>() {
#pragma unroll 1
        for (int i = 0; i < 16 * kBox / 32; ++i) {
          const int row = i / 2, col = i % 2 * 32 + lane();
          if (first_row + row >= g.m || first_col + col >= g.n) continue;
          const int64_t at = tile.at(g, first_row + row, first_col + col);
          const float value = own[row * kPitch + col];
          if (g.wide_c)
            store_finished<F, float>(g, at, first_col + col, value);
          else
            store_finished<F, T>(g, at, first_col + col, value);
        }
      });
    }
  }

  // sum = what c holds; it is float32.
  static DEVICE void load_sum(const Gemm& g, Tile tile, float (&sum)[kWidth / 2]) {
#pragma unroll
    for (int i = 0; i < kWidth / 2; ++i) {
      const int64_t row = tile.row + warp() * 16 + lane() / 4 + i / 2 % 2 * 8;
      const int64_t col = tile.col + i / 4 * 8 + lane() % 4 * 2 + i % 2;
      if (row < g.m && col < g.n) sum[i] = static_cast<const float*>(g.c)[tile.at(g, row, col)];
    }
  }

  template <class T, Major a_major, Major b_major>
  static DEVICE void consume(const GemmSm90& args, Shared& s) {
    const Gemm& g = args.g;
    constexpr int kChainStrips = kChainLength / kBox;
    Turn turn;
    each_tile(args, [&](Tile tile) {
      float sum[kWidth / 2] = {}, chain[kWidth / 2];
      if (g.continue_sum) load_sum(g, tile, sum);
      bool is_first = !g.continue_sum;
      const int strips = int(ceil_div(g.k, kBox));
      for (int strip = 0; strip < strips; ++strip, turn.next()) {
        multiply<T, a_major, b_major>(s, turn, strip % kChainStrips, chain);
        if ((strip + 1) % kChainStrips && strip + 1 < strips) continue;
#pragma unroll
        for (int i = 0; i < kWidth / 2; ++i) sum[i] = is_first ? chain[i] : sum[i] + chain[i];
        is_first = false;
      }
      finish<T>(g, tile, s, sum);
    });
  }

  static DEVICE int lane() { return int(threadIdx.x) % 32; }
  static DEVICE int warp() { return int(threadIdx.x) / 32; }
  static DEVICE int warpgroup() { return int(threadIdx.x) / 128; }
};

template <class T, int width, Major a_major, Major b_major>
__global__ void __launch_bounds__(Sm90<width>::kThreads, 1) multiply_sm90(const __grid_constant__ GemmSm90 args) {
#if PF_CODE_FOR_SM90
  using Tiles = Sm90<width>;
  auto& s = shared_memory<typename Tiles::Shared>();
  s.ring.template run<Tiles::kConsumers>([&] { Tiles::template produce<a_major, b_major>(args, s); },
                                         [&] { Tiles::template consume<T, a_major, b_major>(args, s); });
#endif
}

// Bulk copies want multiples of 16 bytes. Of what is transposed twice there is no kernel.
inline bool sm90_takes(const Gemm& g) {
  const auto fits = [](const Operand& o) {
    return reinterpret_cast<uintptr_t>(o.data) % 16 == 0 && o.stride > 0 && o.stride % 8 == 0 && o.batch_stride >= 0 &&
           o.batch_stride % 8 == 0;
  };
  constexpr int64_t kMost = int64_t(1) << 30;
  const auto is_size = [](int64_t n) { return n > 0 && n < kMost; };
  return is_size(g.m) && is_size(g.n) && is_size(g.k) && is_size(g.batch) && fits(g.a) && fits(g.b) &&
         !(g.a.transposed && g.b.transposed);
}

// Of an operand whose rows are `count` vectors, or whose rows are along k.
inline TensorMap tensor_map_of(const Gemm& g, const Operand& o, bool rows_are_vectors, int64_t count) {
  const int64_t inner = rows_are_vectors ? g.k : count, outer = rows_are_vectors ? count : g.k;
  const int64_t items = o.batch_stride ? g.batch : 1, item = items > 1 ? o.batch_stride : outer * o.stride;
  return tensor_map(
      o.data, g.dtype,
      TensorMapShape<3>{{inner, outer, items}, {2, o.stride * 2, item * 2}, {64, 64, 1}, Swizzle::bytes_128});
}

template <class T, int width>
static void start_sm90(const Gemm& g) {
  using Tiles = Sm90<width>;
  const GemmSm90 args = {tensor_map_of(g, g.a, !g.a.transposed, g.m), tensor_map_of(g, g.b, g.b.transposed, g.n), g,
                         tiles_of(g, Tiles::kHeight, Tiles::kWidth)};
  const auto kernel = g.a.transposed   ? multiply_sm90<T, width, Major::mn, Major::mn>
                      : g.b.transposed ? multiply_sm90<T, width, Major::k, Major::k>
                                       : multiply_sm90<T, width, Major::k, Major::mn>;
  start(kernel, std::min(args.tiles, int64_t(multiprocessors())), Tiles::kThreads, sizeof(typename Tiles::Shared),
        args);
}

// Wide tiles where there is one for each multiprocessor.
template <class T>
static void multiply_on_sm90(const Gemm& g) {
  if (g.n > 64 && tiles_of(g, Sm90<192>::kHeight, 192) >= multiprocessors()) return start_sm90<T, 192>(g);
  start_sm90<T, 64>(g);
}

}  // namespace pyformer::cuda
