// What gather's kernels see.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

// Which elements of an array are picked: for one at (i, j, k) of `extents` the one at (i, index[i, j, k], k), for
// axis 1, of an array of these strides.
struct GatherPick {
  static constexpr int kMaxDims = 8;
  int ndim, axis;
  int64_t extents[kMaxDims], strides[kMaxDims];
  const int64_t* index;
  int64_t size;  // of index
};

// Work item: one element of index.
struct GatherForward {
  GatherPick pick;
  const void* x;
  void* out;
  int64_t items() const { return pick.size; }
  int64_t grain() const { return 1 << 13; }
};

// Work item: an index over the axes before `axis`: what differs there never meets. Elements [first, last) of each.
struct GatherBackward {
  GatherPick pick;
  int64_t outer, first, last;
  const void* dout;
  void* dx;  // to which is added; in the accumulator's dtype
  int64_t items() const { return outer; }
  int64_t grain() const { return grain_of_rows(last - first); }
};

struct GatherTable {
  static constexpr const char* name = "gather";
  static constexpr bool plain = true;
  PerDtype<Kernel<GatherForward>> forward;
  PerDtype<Kernel<GatherBackward>> backward;
};

}  // namespace pyformer
