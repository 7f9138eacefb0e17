// Which parts of a kernel meet a position, for conv's programs.
#pragma once
#include <vector>

#include "pyformer/ops/conv/conv_kernels.h"

namespace pyformer {

// Which kernel rows (or columns) meet a position, and where they read: position * step + shift.
struct Taps {
  std::vector<int64_t> index, shift;
  int64_t size() const { return int64_t(index.size()); }
};

inline Taps all_taps(const ConvGeometry& g, int axis) {
  Taps taps;
  for (int64_t k = 0; k < g.kernel[axis]; ++k) {
    taps.index.push_back(k);
    taps.shift.push_back(k * g.dilation[axis] - g.padding[axis]);
  }
  return taps;
}

// Of image rows first, first + stride, ...: kernel row k meets result row (y + padding - k dilation) / stride, where
// that is whole.
inline Taps taps_meeting(const ConvGeometry& g, int axis, int64_t first) {
  Taps taps;
  const int64_t stride = g.stride[axis];
  for (int64_t k = 0; k < g.kernel[axis]; ++k) {
    const int64_t at = first + g.padding[axis] - k * g.dilation[axis];
    if (at % stride) continue;
    taps.index.push_back(k);
    taps.shift.push_back(at / stride);
  }
  return taps;
}

// Do all taps lie inside at every position?
inline bool all_inside(const ConvGeometry& g) { return g.taps() == 1 && g.padding[0] == 0 && g.padding[1] == 0; }

}  // namespace pyformer
