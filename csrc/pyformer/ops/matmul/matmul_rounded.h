// float32 operands of products of bfloat16, as models of bfloat16 and autocast have them: one launch rounds them into
// memory of its own, where rows start at multiples of 16 bytes, as asynchronous copies want them. Rounding where
// operands are read would repeat it for each tile, and no asynchronous copy can do it.
#pragma once
#include "pyformer/cuda/kernel.h"
#include "pyformer/cuda/ptx.h"
#include "pyformer/ops/matmul/gemm_kernels.h"

namespace pyformer::cuda {

constexpr int kRoundedChunk = 8;  // elements, 16 bytes

// A batch of row-major matrices. chunks: of all its rows, or 0 if it is not to be rounded.
struct RoundedMatrix {
  const float* from = nullptr;
  BFloat16* to = nullptr;
  int64_t rows = 0, cols = 0, stride = 0, batch_stride = 0, chunks = 0;

  static constexpr int64_t row_chunks(int64_t cols) { return ceil_div(cols, kRoundedChunk); }
  static RoundedMatrix of(const Operand& o, int64_t rows, int64_t cols, int64_t batch) {
    if (!o.wide) return {};
    const int64_t items = o.batch_stride ? batch : 1;
    return {static_cast<const float*>(o.data), nullptr, rows, cols, o.stride, o.batch_stride,
            items * rows * row_chunks(cols)};
  }
  int64_t bytes() const { return chunks * kRoundedChunk * int64_t(sizeof(BFloat16)); }
  void replace(Operand& o) const {
    if (!o.wide) return;
    const int64_t row = row_chunks(cols) * kRoundedChunk;
    o = {to, row, o.transposed, o.batch_stride ? rows * row : 0};
  }
};

struct RoundedMatrices {
  RoundedMatrix a, b;
};

// Eight elements of a row; zeros fill the last chunk.
struct RoundChunk {
  using Args = RoundedMatrices;
  static DEVICE void at(const Args& args, int64_t i) {
    if (i < args.a.chunks)
      round(args.a, i);
    else
      round(args.b, i - args.a.chunks);
  }
  static DEVICE void round(const RoundedMatrix& m, int64_t i) {
    const Divided place = divided(i, RoundedMatrix::row_chunks(m.cols)), item = divided(place.quotient, m.rows);
    const int64_t col = place.rest * kRoundedChunk, left = m.cols - col;
    const float* const from = m.from + item.quotient * m.batch_stride + item.rest * m.stride + col;
    float x[kRoundedChunk] = {};
    if (left >= kRoundedChunk && reinterpret_cast<uintptr_t>(from) % 16 == 0) {
      const Packed<float, 4> first = load<4>(from), second = load<4>(from + 4);
#pragma unroll
      for (int e = 0; e < 4; ++e) x[e] = first[e], x[e + 4] = second[e];
    } else {
#pragma unroll
      for (int e = 0; e < kRoundedChunk; ++e)
        if (e < left) x[e] = from[e];
    }
    Packed<uint32_t, kRoundedChunk / 2> two;
#pragma unroll
    for (int e = 0; e < kRoundedChunk / 2; ++e) two[e] = packed<BFloat16>(x[2 * e], x[2 * e + 1]);
    store(reinterpret_cast<uint32_t*>(m.to + i * kRoundedChunk), two);
  }
};

// multiply(g), with g's operands rounded.
template <class Multiply>
void with_rounded_operands(Gemm g, const Multiply& multiply) {
  RoundedMatrices both = {
      RoundedMatrix::of(g.a, g.a.transposed ? g.k : g.m, g.a.transposed ? g.m : g.k, g.batch),
      RoundedMatrix::of(g.b, g.b.transposed ? g.n : g.k, g.b.transposed ? g.k : g.n, g.batch),
  };
  const int64_t chunks = both.a.chunks + both.b.chunks;
  if (!chunks) return multiply(g);
  const Scratch rounded(both.a.bytes() + both.b.bytes());
  both.a.to = static_cast<BFloat16*>(rounded.data());
  both.b.to = both.a.to + both.a.chunks * kRoundedChunk;
  start_items<RoundChunk>(both, chunks);
  both.a.replace(g.a);
  both.b.replace(g.b);
  multiply(g);
}

}  // namespace pyformer::cuda
