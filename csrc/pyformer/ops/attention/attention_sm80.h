// Attention of 16-bit floats on tensor cores, for sm_80 and later: what its three kernels share.
//
// A block of 4 warps has 64 rows of its own, 16 a warp, and takes 64 of the others at a time, which cp.async brings
// through a ring in shared memory: rows are queries and the others keys, and for dk and dv the other way round. The
// rows of a key head are its queries in order, of each the heads of the group.
//
// What is summed is what attention_ref.cpp says of bfloat16, for float16 too, with tensor cores' sums: a dot over D or
// Dv is a chain of mma.m16n8k16 from +0, so is a block's sum over 64 others, and both have +0 where a row does not
// attend. In l, four lanes take columns 8n + 2t and 8n + 2t + 1 in order, and meet as (0 + 1) + (2 + 3). So bits depend
// on a row's query, its attended keys and their positions: no tile, batch, range or schedule changes them.
//
// By bench/cuda_roofline.py shared memory is the bound: of 16 rows a warp, what ldmatrix loads of the others serves one
// product. 32 rows a warp would halve that, but leave no registers for the sums of a key range beside those of all.
#pragma once
#include "pyformer/cuda/kernel.h"
#include "pyformer/cuda/ptx.h"
#include "pyformer/ops/attention/attention_rows.h"

namespace pyformer::cuda {

struct Attend {
  static constexpr int kRows = 64, kThreads = 128, kSlots = 3, kChunk = 8;  // a chunk is 16 bytes
  static constexpr int kColumns = 96;  // that a block sums up, of wider results several blocks do
  static constexpr int64_t kMostWidth = 256;
  static constexpr unsigned kRowBytes = 1024;  // more for what dk and dv know of rows

  // Of a whole op: `own` tiles stay in shared memory, beside the ring.
  static unsigned shared_bytes(const AttentionInput& in, int own) {
    return unsigned((own + kSlots) * kRows * pitch_of(wider(in)) * 2);
  }
  static bool takes(const AttentionInput& in, unsigned most_shared_bytes) {
    constexpr int64_t kMost = int64_t(1) << 30;
    return wider(in) <= kMostWidth && in.keys < kMost && in.heads < kMost &&
           in.queries * (in.heads / in.key_heads) < kMost && shared_bytes(in, 2) + kRowBytes <= most_shared_bytes;
  }
  // D and Dv, where there are kernels for just those, or 0.
  static int width(const AttentionInput& in) {
    return in.head_dim == in.value_dim && (in.head_dim == 64 || in.head_dim == 128) ? int(in.head_dim) : 0;
  }
  static int64_t wider(const AttentionInput& in) { return in.head_dim > in.value_dim ? in.head_dim : in.value_dim; }
  static constexpr DEVICE int pitch_of(int64_t width) { return int(ceil_div(width, 64)) * 64; }

  // Tiles have 64 rows, `pitch` elements apart, a multiple of 64. Chunk c of row r lies where the chunks c of 8 rows
  // fall into 8 groups of banks.
  static DEVICE int place(int row, int chunk, int pitch) { return row * pitch + (chunk ^ (row & 7)) * kChunk; }
  static DEVICE int lane() { return int(threadIdx.x) % 32; }
  static DEVICE int warp() { return int(threadIdx.x) / 32; }
};

// The rows of a key head of a batch row.
struct HeadRows {
  int b, key_head, group;
  int count;

  DEVICE HeadRows(const AttentionInput& in, int64_t head) {
    const Divided place = divided_small(head, in.key_heads);
    b = int(place.quotient), key_head = int(place.rest);
    group = int(divided_small(in.heads, in.key_heads).quotient);
    count = int(in.queries * group);
  }
  DEVICE int64_t query(int row) const { return group == 1 ? row : divided_small(row, group).quotient; }
  DEVICE int64_t head(int row) const { return key_head * group + (group == 1 ? 0 : divided_small(row, group).rest); }
  // In row_max and what is like it.
  DEVICE int64_t at(const AttentionInput& in, int row) const {
    return (b * in.heads + head(row)) * in.queries + query(row);
  }
};

// Which tile of `height` of `count` vectors a block has, of which key head, and which columns of its result; what is
// left of the block's number is `rest`. Heads are next to each other, as tiles differ in work.
struct TilePlace {
  int64_t head;
  int column_block, tile, tiles_behind, rest;
  DEVICE TilePlace(const AttentionInput& in, int64_t count, int column_blocks, int height = Attend::kRows) {
    const int64_t tiles = ceil_div(count, height);
    const Divided heads = divided_small(blockIdx.x, in.batch * in.key_heads);
    const Divided columns = divided_small(heads.quotient, column_blocks), all = divided_small(columns.quotient, tiles);
    head = heads.rest, column_block = int(columns.rest), tile = int(all.rest), rest = int(all.quotient);
    tiles_behind = int(tiles) - 1 - tile;
  }
};

// Vectors of q, k, v or dout: the heads of rows, or of tokens.
template <class T>
struct TileSource {
  const T* data;
  AttentionStrides strides;
  bool in_chunks;

  DEVICE TileSource(const void* p, AttentionStrides s) : data(static_cast<const T*>(p)), strides(s) {
    in_chunks = reinterpret_cast<uintptr_t>(p) % 16 == 0 && (s.batch | s.token | s.head) % Attend::kChunk == 0;
  }
  DEVICE const T* at(int64_t b, int64_t token, int64_t head) const {
    return data + b * strides.batch + token * strides.token + head * strides.head;
  }

  // The first `count` vectors (row_at(i) is one of them) of `width` elements, to a tile; zeros up to 64 rows and to a
  // multiple of 16 columns.
  template <class RowAt>
  DEVICE void load(T* tile, int pitch, int width, int count, const RowAt& row_at) const {
    constexpr int kChunk = Attend::kChunk;
    const int chunks = (width + 15) / 16 * 2;
    // Eight threads next to each other write to eight groups of banks: a row's chunks, or where these are no whole
    // eights, one chunk of eight rows.
    const bool along_rows = chunks % 8 == 0;
    for (int e = int(threadIdx.x); e < Attend::kRows * chunks; e += Attend::kThreads) {
      const int which = along_rows ? e : e / 8, chunk = which % chunks;
      const int row = along_rows ? which / chunks : which / chunks * 8 + e % 8;
      const int left = row < count ? width - chunk * kChunk : 0;
      const int valid = left < 0 ? 0 : left < kChunk ? left : kChunk;
      const T* from = valid ? row_at(row) + chunk * kChunk : data;
      T* const to = tile + Attend::place(row, chunk, pitch);
      if (in_chunks)
        cp_async(to, from, valid * int(sizeof(T)));
      else
        for (int i = 0; i < kChunk; ++i) to[i] = i < valid ? from[i] : T{};
    }
  }
  DEVICE void load_rows(T* tile, int pitch, int width, const HeadRows& rows, int first) const {
    load(tile, pitch, width, rows.count - first,
         [&](int i) { return at(rows.b, rows.query(first + i), rows.head(first + i)); });
  }
  // `column` is the first that is loaded.
  DEVICE void load_tokens(T* tile, int pitch, int width, int64_t b, int64_t head, int first, int tokens,
                          int column = 0) const {
    const T* start = at(b, first, head) + column;
    load(tile, pitch, width, tokens - first, [&](int i) { return start + i * strides.token; });
  }
};

// s = x y^T for the warp's 16 rows x of one tile and 8 * count rows y of another, over `steps` times 16 columns. In
// mma's layout: s[n][2h + c] is of row g + 8h and column 8n + 2t + c.
template <class T, int count>
DEVICE void dot_tiles(const T* own, const T* other, int pitch, int steps, float (&s)[count][4]) {
  const int lane = Attend::lane(), row = Attend::warp() * 16 + lane % 16;
#pragma unroll
  for (int n = 0; n < count; ++n)
#pragma unroll
    for (int h = 0; h < 4; ++h) s[n][h] = 0;
#pragma unroll 4
  for (int step = 0; step < steps; ++step) {
    uint32_t x[4];
    ldmatrix<false>(x, own + Attend::place(row, step * 2 + lane / 16, pitch));
#pragma unroll
    for (int j = 0; j < count / 2; ++j) {
      uint32_t y[4];
      ldmatrix<false>(y, other + Attend::place(16 * j + lane % 8 + lane / 16 * 8, step * 2 + lane / 8 % 2, pitch));
      const uint32_t first[2] = {y[0], y[1]}, second[2] = {y[2], y[3]};
      mma_m16n8k16<T>(s[2 * j], x, first);
      mma_m16n8k16<T>(s[2 * j + 1], x, second);
    }
  }
}

// What weights of 16 rows and 64 others are multiplied with others' columns from: rounded, as mma takes its first
// factor, and for each of s which are attended: bit 4n + 2h + c is s[n][2h + c].
struct Weights {
  uint32_t p[4][4];
  uint32_t attended;

  static constexpr DEVICE uint32_t bit(int n, int h) { return uint32_t(1) << (4 * n + h); }
  // The two of s[n][h], s[n][h + 1], h even.
  DEVICE uint32_t& pair(int n, int h) { return p[n / 2][n % 2 * 2 + h / 2]; }
  template <class T>
  DEVICE void round(int n, const float (&s)[4]) {
#pragma unroll
    for (int h = 0; h < 4; h += 2) pair(n, h) = packed<T>(s[h], s[h + 1]);
  }
};

// Beside a weight of 0 a factor below this changes no sum, unless of numbers below 2^-100: a tensor core aligns a
// product with zero as one of that zero's exponent, -126. Not so infinity, NaN, and what is larger.
template <class T>
constexpr uint32_t kBigBits = std::is_same_v<T, BFloat16> ? (127 + 16) << 7 : 0x7c00;
// Which bit of each half says that it is as large.
template <class T>
DEVICE uint32_t big_halves(uint32_t pair) {
  return ((pair & 0x7fff7fffu) + (0x8000u - kBigBits<T>)*0x10001u) & 0x80008000u;
}

// The chains of a row by itself, for one after the other, with +0 where it does not attend.
template <class T>
DEVICE void multiply_apart(const Weights& w, const uint32_t (&y)[4][4], float (&chain)[2][4]) {
  const int lane = Attend::lane();
#pragma unroll 1
  for (int row = 0; row < 16; ++row) {
    const bool low = row < 8, own = lane / 4 == row % 8;
    const uint32_t bits = __shfl_sync(~0u, w.attended, row % 8 * 4 + lane % 4) >> (low ? 0 : 2);
    const uint32_t keep_low = own && low ? ~0u : 0, keep_high = own && !low ? ~0u : 0;
    float sums[2][4] = {};
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const uint32_t x[4] = {w.p[k][0] & keep_low, w.p[k][1] & keep_high, w.p[k][2] & keep_low, w.p[k][3] & keep_high};
      uint32_t attended[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const uint32_t two = bits >> (8 * k + 4 * i);
        attended[i] = (two & 1) * 0xffffu | (two >> 1 & 1) * 0xffff0000u;
      }
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        const uint32_t masked[2] = {y[k][2 * n] & attended[0], y[k][2 * n + 1] & attended[1]};
        mma_m16n8k16<T>(sums[n], x, masked);
      }
    }
#pragma unroll
    for (int n = 0; n < 2; ++n)
#pragma unroll
      for (int h = 0; h < 4; ++h)
        if (own && low == (h < 2)) chain[n][h] = sums[n][h];
  }
}

// use(n, chain) for 8 columns of a tile after the other, n < 2 * steps <= 2 * most: chain is the sum of weights times
// the tile's 64 rows, from column 8 * first_chunk on. partial: some of the warp's rows do not attend to all of them.
template <class T, int most, class Use>
DEVICE void multiply_columns(const Weights& w, bool partial, const T* tile, int pitch, int first_chunk, int steps,
                             const Use& use) {
  const int lane = Attend::lane();
#pragma unroll
  for (int j = 0; j < most; ++j)
    if (j < steps) {
      uint32_t y[4][4];
      float chain[2][4] = {};
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        ldmatrix<true>(y[k], tile + Attend::place(16 * k + lane % 16, first_chunk + 2 * j + lane / 16, pitch));
        const uint32_t first[2] = {y[k][0], y[k][1]}, second[2] = {y[k][2], y[k][3]};
        mma_m16n8k16<T>(chain[0], w.p[k], first);
        mma_m16n8k16<T>(chain[1], w.p[k], second);
      }
      if (partial) {
        uint32_t big = 0;
#pragma unroll
        for (int k = 0; k < 4; ++k)
#pragma unroll
          for (int i = 0; i < 4; ++i) big |= big_halves<T>(y[k][i]);
        if (__any_sync(~0u, big != 0)) multiply_apart<T>(w, y, chain);
      }
      use(2 * j, chain[0]);
      use(2 * j + 1, chain[1]);
    }
}

}  // namespace pyformer::cuda
