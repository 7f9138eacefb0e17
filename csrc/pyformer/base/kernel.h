// What every kernel file may know besides its own argument structs: the instruction sets, and the names
// under which one kernel is found. Includes <cstdint> only, so kernel translation units stay free of the STL.
#pragma once
#include <cstdint>

namespace pyformer {

// Ordered: a kernel built for one set may stand in for any later set that lacks one.
enum class Isa : int { ref = 0, portable = 1, avx2 = 2, avx512 = 3 };
constexpr int kIsaCount = 4;

// A kernel handles work items [begin, end) of the op described by args; the op's header says what an item is.
template <class Args>
using Kernel = void (*)(const Args& args, int64_t begin, int64_t end);

// Every output element of a matmul-like sum is ((p0 + p1) + p2) + ..., p_i one FMA chain over 256 consecutive k.
constexpr int64_t kChainLength = 256;
// Row reductions use 16 virtual lanes inside blocks of 4,096 elements; block sums meet in a binary tree.
constexpr int64_t kLanes = 16;
constexpr int64_t kReduceBlock = 4096;

}  // namespace pyformer
