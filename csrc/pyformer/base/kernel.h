// What every kernel file may know besides its own argument structs: the instruction sets, and the tables in which
// kernels are found. Includes no STL, so kernel translation units stay free of it.
#pragma once
#include <cstdint>

#include "pyformer/base/dtype.h"

namespace pyformer {

// A set that lacks a kernel uses that of the set it falls back to (isa.h); `ref` has all that there are.
// avx512_bf16 and amx have kernels for products of bfloat16 only.
enum class Isa : int { ref = 0, portable = 1, avx2 = 2, avx512 = 3, avx512_bf16 = 4, amx = 5 };
constexpr int kIsaCount = 6;

// Does work items [begin, end) of the op described by args; the op's header says what an item is. Args says how many
// there are and how many one task should take: int64_t items() const, int64_t grain() const.
// On a device all items are launched at once, on the calling thread's stream.
template <class Args>
using Kernel = void (*)(const Args& args, int64_t begin, int64_t end);

// Does all of an op that is more than one loop, and shares out its own work.
template <class Args>
using Program = void (*)(const Args& args);

// One entry a dtype, in DType's order; what is not there is null (0).
template <class Entry>
struct PerDtype {
  Entry entries[kDTypeCount];
  constexpr const Entry& operator[](DType dtype) const { return entries[int(dtype)]; }
};

// get.operator()<T>() for the four float types.
template <class Entry, class Get>
constexpr PerDtype<Entry> for_each_float(const Get& get) {
  return {{get.template operator()<float>(), get.template operator()<double>(), get.template operator()<BFloat16>(),
           get.template operator()<Float16>()}};
}

// For those that vector code has.
template <class Entry, class Get>
constexpr PerDtype<Entry> for_wide_floats(const Get& get) {
  return {{get.template operator()<float>(), get.template operator()<double>()}};
}
// For those that CUDA kernels have.
template <class Entry, class Get>
constexpr PerDtype<Entry> for_cuda_floats(const Get& get) {
  return {{get.template operator()<float>(), nullptr, get.template operator()<BFloat16>(),
           get.template operator()<Float16>()}};
}

// An op's kernels of one set, a struct of PerDtype rows with `static constexpr const char* name`. Each set's files
// define table() for theirs.
template <class Table, Isa isa>
struct KernelsOf {
  static const Table& table();
};

// Every output element of a matmul-like sum is ((p0 + p1) + p2) + ..., p_i one FMA chain over 256 consecutive k.
constexpr int64_t kChainLength = 256;
// Where both operands are bfloat16 the sum is another, that of x86's matrix units: blocks of 32 consecutive k, in each
// an FMA chain over its even k and one over its odd k, both added, then added to the sum of earlier blocks, all in
// float32 with denormals as zeros (bfloat16_dot.h). float16 is widened and summed as float32 is.
constexpr int64_t kBFloat16Block = 32;
// Row reductions use 16 virtual lanes inside blocks of 4,096 elements; block sums meet in a binary tree.
constexpr int64_t kLanes = 16;
constexpr int64_t kReduceBlock = 4096;

// Rows a task should take: about 16k elements, so that a busy neighbour delays little and handing out costs little.
constexpr int64_t grain_of_rows(int64_t cols) {
  const int64_t rows = (int64_t(1) << 14) / (cols < 1 ? 1 : cols);
  return rows < 1 ? 1 : rows;
}

// The size in bytes from which an output is written by non-temporal stores, which go past the caches and save the
// read-for-ownership of each line. An output that a product reads next is written so from 8 MiB on, as products hide
// their reads behind arithmetic; any other output only where it is too large for a cache to hold it until it is read.
constexpr int64_t kNontemporalToProducts = int64_t(8) << 20;
constexpr int64_t kNontemporalToAll = int64_t(32) << 20;

}  // namespace pyformer
