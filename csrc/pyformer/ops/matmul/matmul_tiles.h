// What the kernels of products share: which tile a block computes, operands as vectors along k, and the epilogue.
#pragma once
#include "pyformer/cuda/kernel.h"
#include "pyformer/ops/matmul/gemm_kernels.h"
#include "pyformer/ops/matmul/matmul_epilogue.h"

namespace pyformer::cuda {

// The first row and column of a block's tile, and which product of the batch it is of.
struct Tile {
  int64_t batch, row, col;
  DEVICE int64_t at(const Gemm& g, int64_t r, int64_t c) const { return batch * g.c_batch_stride + r * g.c_stride + c; }
};
DEVICE Tile tile_of(const Gemm& g, int height, int width, int64_t index) {
  const int64_t cols = ceil_div(g.n, width), tiles = ceil_div(g.m, height) * cols, tile = index % tiles;
  return {index / tiles, tile / cols * height, tile % cols * width};
}
DEVICE Tile tile_of(const Gemm& g, int height, int width) { return tile_of(g, height, width, blockIdx.x); }
inline int64_t tiles_of(const Gemm& g, int height, int width) {
  return g.batch * ceil_div(g.m, height) * ceil_div(g.n, width);
}

// The rows of op(a), or the columns of op(b). Either a vector's elements are adjacent or an element's vectors are.
// chunks_are_aligned: 16 bytes of what is adjacent, from a multiple of that on, are one load.
struct Vectors {
  const void* data;
  int64_t stride, k_stride, count;
  bool chunks_are_aligned;
  DEVICE bool along_k() const { return k_stride == 1; }
};
template <class T>
DEVICE Vectors vectors_of(const Operand& operand, int64_t batch, bool along_rows, int64_t count) {
  const T* data = static_cast<const T*>(operand.data) + batch * operand.batch_stride;
  const bool aligned = reinterpret_cast<uintptr_t>(data) % 16 == 0 && operand.stride * sizeof(T) % 16 == 0;
  return {data, along_rows ? operand.stride : 1, along_rows ? 1 : operand.stride, count, aligned};
}
template <class T>
DEVICE Vectors rows_of(const Gemm& g, int64_t batch) {
  return vectors_of<T>(g.a, batch, !g.a.transposed, g.m);
}
template <class T>
DEVICE Vectors cols_of(const Gemm& g, int64_t batch) {
  return vectors_of<T>(g.b, batch, g.b.transposed, g.n);
}

// The epilogue of one element of c, F the activation, C its type.
template <class F, class C, class A>
DEVICE void store_finished(const Gemm& g, int64_t at, int64_t col, A sum) {
  to<C>(g.c)[at] = finish<F, A>(
      g.epilogue, sum, [&] { return A(in<C>(g.epilogue.bias)[col]); }, [&](const void* m) { return A(in<C>(m)[at]); },
      [&](void* m, A value) { to<C>(m)[at] = value; });
}

}  // namespace pyformer::cuda
