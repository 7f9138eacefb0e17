// What the kernels of the library's own arithmetic see: what the tape and all ops need below any op.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

constexpr int64_t kElementsPerTask = int64_t(1) << 15;

// Work item: one element. out = value.
struct Fill {
  int64_t size;
  uint64_t bits;  // of one element, in the lowest bytes
  void* out;
  int64_t items() const { return size; }
  int64_t grain() const { return 8 * kElementsPerTask; }
};

// Work item: one element. out = a + b; out may be a or b.
struct AddGradients {
  int64_t size;
  const void* a;
  const void* b;
  void* out;
  int64_t items() const { return size; }
  int64_t grain() const { return kElementsPerTask; }
};

// Work item: one element of the entry's dtype, converted to dtype `wanted`. Floats to integers are cut towards zero and
// held within the integers' range, NaN becomes 0; integers to narrower ones wrap around.
struct Cast {
  int64_t size;
  const void* x;
  DType wanted;
  void* out;
  int64_t items() const { return size; }
  int64_t grain() const { return kElementsPerTask; }
};

// Work item: a column. (chunks, cols) -> (cols,): partial sums added in index order; zeros where there are no chunks.
struct SumPartials {
  int64_t chunks, cols;
  const void* partials;
  void* out;
  int64_t items() const { return cols; }
  int64_t grain() const { return 4096; }
};

// The one work item: all ids. Looks for the first that is not within [0, limit); all such become 0.
struct CheckIds {
  int64_t size, limit;
  bool has_ignored;
  int64_t ignored;  // is let pass
  int64_t* ids;
  int64_t* offender;  // its position and value; position -1: all are within
  int64_t* counted;   // how many are not ignored; or null: not wanted
  int64_t items() const { return 1; }
  int64_t grain() const { return 1; }
};

// A copy between two strided regions, extents and strides (in elements) from the outermost axis to the innermost.
struct StridedCopy {
  static constexpr int kMaxDims = 8;
  static constexpr int64_t kSegment = int64_t(1) << 16;  // of copy_rows
  static constexpr int64_t kTile = 32, kStrip = 1024;    // of copy_tiles
  int ndim;
  int64_t extents[kMaxDims], to_strides[kMaxDims], from_strides[kMaxDims];
  const void* from;
  void* to;
  bool tiled;  // which of the two kernels

  int64_t count(int axes) const {  // of indices over the first axes
    int64_t n = 1;
    for (int i = 0; i < axes; ++i) n *= extents[i];
    return n;
  }
  int64_t segments() const { return (extents[ndim - 1] + kSegment - 1) / kSegment; }
  int64_t row_strips() const { return (extents[ndim - 2] + kTile - 1) / kTile; }
  int64_t items() const {
    if (!tiled) return count(ndim - 1) * segments();
    return count(ndim - 2) * row_strips() * ((extents[ndim - 1] + kStrip - 1) / kStrip);
  }
  int64_t grain() const {
    const int64_t cols = extents[ndim - 1];
    if (!tiled) return grain_of_rows(cols);
    const int64_t rows = extents[ndim - 2];
    return grain_of_rows((rows < kTile ? rows : kTile) * (cols < kStrip ? cols : kStrip));
  }
};

struct ArithmeticTable {
  static constexpr const char* name = "arithmetic";
  PerDtype<Kernel<Fill>> fill;
  PerDtype<Kernel<AddGradients>> add;
  PerDtype<Kernel<Cast>> cast;
  PerDtype<Kernel<SumPartials>> sum_partials;
  PerDtype<Kernel<CheckIds>> check_ids;
  // Item: a segment of a row along the last axis.
  PerDtype<Kernel<StridedCopy>> copy_rows;
  // Item: a strip of kTile rows and kStrip columns of a plane, where `to` steps by one along the last axis and `from`
  // along the one before it; copied in square tiles, so that a cache line is used whole on both sides.
  PerDtype<Kernel<StridedCopy>> copy_tiles;
};

}  // namespace pyformer
