// Copies between strided layouts: what transpose, slices, concat and padding come down to.
#pragma once
#include "pyformer/core/array.h"

namespace pyformer {

// A rectangular region: where it starts and how far apart its elements lie along each axis, in elements (may be < 0).
struct Region {
  void* start;
  int64_t strides[Shape::kMaxDims];
};

// The row-major region that starts `offset` elements into an array.
Region region_of(const Array& array, int64_t offset = 0);

// to[i...] = from[i...] for all i within extents; the regions must not overlap.
void strided_copy(const Shape& extents, int64_t item_bytes, const Region& to, const Region& from);

}  // namespace pyformer
