// The micro-kernel: one tile of C from a panel of A, [k][rows], and a panel of B, [k][tile_cols], both with a stride
// along k, or from rows of A that lie along k, with a stride between them. Vectors run along n; an element of A is
// broadcast. For *_cpu.cpp.
#pragma once
#include "pyformer/base/vec.h"

namespace pyformer::PF_ISA {

// Accumulators for the largest tile that leaves registers for one row of B and one element of A.
template <class T>
constexpr int kTileVectors = 2;
template <class T>
constexpr int kTileCols = int(kTileVectors<T> * Vec<T>::width);
// Eight rows already keep both FMA units busy; fourteen, which read B less often, are worth the time to compile them
// for float only.
template <class T>
constexpr int kTileRows = kVectorBytes == 64   ? sizeof(T) == 4 ? 14 : 8
                          : kVectorBytes == 32 ? 6
                                               : 4;

// tile[rows][tile_cols] = or += sum over k in chains of 256; `fresh` says which. Only vectors * width columns are done.
// along: A's rows lie along k, a_stride apart; else a_stride is that of k.
template <class T, int rows, int vectors, bool along = false>
static void multiply_tile(const T* a, int64_t a_stride, const T* b, int64_t b_stride, int64_t k, T* tile, bool fresh) {
  constexpr int width = Vec<T>::width, cols = kTileCols<T>;
  do {
    const int64_t chain = k < kChainLength ? k : kChainLength;
    Vec<T> sum[rows][vectors];
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i)
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sum[i][v] = Vec<T>::zero();
#pragma GCC unroll 4
    for (int64_t p = 0; p < chain; ++p) {
      Vec<T> bv[vectors];
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) bv[v] = Vec<T>::load(b + v * width);
#pragma GCC unroll 16
      for (int i = 0; i < rows; ++i) {
        const Vec<T> av = Vec<T>::broadcast(a[along ? i * a_stride : i]);
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) sum[i][v] = fma(av, bv[v], sum[i][v]);
      }
      a += along ? 1 : a_stride;
      b += b_stride;
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i)
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        T* out = tile + i * cols + v * width;
        (fresh ? sum[i][v] : Vec<T>::load(out) + sum[i][v]).store(out);
      }
    fresh = false;
    k -= chain;
  } while (k > 0);
}

template <class T>
using TileFunction = void (*)(const T* a, int64_t a_stride, const T* b, int64_t b_stride, int64_t k, T* tile,
                              bool fresh);

// The micro-kernel for this many rows.
template <class T, int vectors, bool along = false, int rows = kTileRows<T>>
static TileFunction<T> tile_function(int64_t wanted) {
  if constexpr (rows > 1)
    if (wanted < rows) return tile_function<T, vectors, along, rows - 1>(wanted);
  return multiply_tile<T, rows, vectors, along>;
}

}  // namespace pyformer::PF_ISA
