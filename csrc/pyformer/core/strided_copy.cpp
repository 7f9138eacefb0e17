#include "pyformer/core/strided_copy.h"

#include <cstring>
#include <utility>

#include "pyformer/base/thread_pool.h"
#include "pyformer/core/partials.h"

namespace pyformer {

Region region_of(const Array& array, int64_t offset) {
  Region r{static_cast<char*>(array.raw()) + offset * item_bytes(array.dtype()), {}};
  int64_t stride = 1;
  for (int i = array.ndim() - 1; i >= 0; --i) {
    r.strides[i] = stride;
    stride *= array.dim(i);
  }
  return r;
}

// The same copy with neighbouring axes that are contiguous in both regions merged, and axes of extent 1 dropped.
struct Plan {
  int ndim = 0;
  int64_t extents[Shape::kMaxDims], to[Shape::kMaxDims], from[Shape::kMaxDims];
};
static Plan simplified(const Shape& shape, const Region& to, const Region& from) {
  Plan p;
  for (int i = 0; i < shape.ndim(); ++i) {
    if (shape[i] == 1) continue;
    const int last = p.ndim - 1;
    if (last >= 0 && p.to[last] == to.strides[i] * shape[i] && p.from[last] == from.strides[i] * shape[i]) {
      p.extents[last] *= shape[i];
      p.to[last] = to.strides[i];
      p.from[last] = from.strides[i];
    } else {
      p.extents[p.ndim] = shape[i];
      p.to[p.ndim] = to.strides[i];
      p.from[p.ndim++] = from.strides[i];
    }
  }
  if (p.ndim == 0) p = {1, {1}, {1}, {1}};
  return p;
}

// Where the region begins that an index over the first ndim axes selects.
struct Start {
  int64_t to = 0, from = 0;
};
static Start start_of(const Plan& p, int ndim, int64_t index) {
  Start start;
  for (int i = ndim - 1; i >= 0; --i) {
    const int64_t at = index % p.extents[i];
    index /= p.extents[i];
    start.to += at * p.to[i];
    start.from += at * p.from[i];
  }
  return start;
}
static int64_t count_of(const Plan& p, int ndim) {
  int64_t count = 1;
  for (int i = 0; i < ndim; ++i) count *= p.extents[i];
  return count;
}

template <class T>
static void copy_row(int64_t n, T* to, int64_t to_stride, const T* from, int64_t from_stride) {
  if (to_stride == 1 && from_stride == 1) {
    std::memcpy(to, from, size_t(n) * sizeof(T));
  } else {
    for (int64_t i = 0; i < n; ++i) to[i * to_stride] = from[i * from_stride];
  }
}

// Along the last axis, in segments: a single long row is shared out too.
template <class T>
static void copy_rows(const Plan& p, T* to, const T* from) {
  constexpr int64_t kSegment = int64_t(1) << 16;
  const int last = p.ndim - 1;
  const int64_t n = p.extents[last], to_step = p.to[last], from_step = p.from[last];
  const int64_t segments = (n + kSegment - 1) / kSegment;
  parallel_for(count_of(p, last) * segments, grain_of_rows(n), [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const bool whole = segments == 1;
      const Start row = start_of(p, last, whole ? item : item / segments);
      const int64_t first = whole ? 0 : item % segments * kSegment;
      copy_row(std::min(kSegment, n - first), to + row.to + first * to_step, to_step,
               from + row.from + first * from_step, from_step);
    }
  });
}

// The last two axes, where `to` steps by one along the last and `from` along the one before it, in square tiles: a
// cache line is used whole on both sides.
template <class T>
static void copy_tiles(const Plan& p, T* to, const T* from) {
  constexpr int64_t kTile = 32, kStrip = 1024;
  const int last = p.ndim - 1;
  const int64_t rows = p.extents[last - 1], cols = p.extents[last];
  const int64_t to_step = p.to[last - 1], from_step = p.from[last];
  const int64_t row_strips = (rows + kTile - 1) / kTile, strips = row_strips * ((cols + kStrip - 1) / kStrip);
  const int64_t grain = grain_of_rows(std::min(rows, kTile) * std::min(cols, kStrip));
  parallel_for(count_of(p, last - 1) * strips, grain, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const Start plane = start_of(p, last - 1, item / strips);
      const int64_t first_row = item % strips % row_strips * kTile, last_row = std::min(rows, first_row + kTile);
      const int64_t first_col = item % strips / row_strips * kStrip, last_col = std::min(cols, first_col + kStrip);
      T tile[kTile][kTile];  // in between: lines a power of two apart would drive each other out of the cache
      for (int64_t col = first_col; col < last_col; col += kTile) {
        const int64_t width = std::min(kTile, last_col - col);
        const T* source = from + plane.from + first_row + col * from_step;
        for (int64_t c = 0; c < width; ++c)
          for (int64_t r = 0; r < last_row - first_row; ++r) tile[r][c] = source[c * from_step + r];
        for (int64_t r = 0; r < last_row - first_row; ++r)
          std::memcpy(to + plane.to + (first_row + r) * to_step + col, tile[r], size_t(width) * sizeof(T));
      }
    }
  });
}

// Moves the axis along which `from` steps by one next to the last, unless it is the last; whether there is such.
static bool arrange_for_tiles(Plan& p) {
  const int last = p.ndim - 1;
  if (p.to[last] != 1 || p.from[last] == 1) return false;
  for (int i = 0; i < last; ++i)
    if (p.from[i] == 1) {
      std::swap(p.extents[i], p.extents[last - 1]);
      std::swap(p.to[i], p.to[last - 1]);
      std::swap(p.from[i], p.from[last - 1]);
      return true;
    }
  return false;
}

template <class T>
static void copy_planned(Plan p, T* to, const T* from) {
  if (arrange_for_tiles(p))
    copy_tiles(p, to, from);
  else
    copy_rows(p, to, from);
}

void strided_copy(const Shape& extents, int64_t item_bytes, const Region& to, const Region& from) {
  if (extents.size() == 0) return;
  const Plan plan = simplified(extents, to, from);
  switch (item_bytes) {
    case 1:
      return copy_planned(plan, static_cast<uint8_t*>(to.start), static_cast<const uint8_t*>(from.start));
    case 2:
      return copy_planned(plan, static_cast<uint16_t*>(to.start), static_cast<const uint16_t*>(from.start));
    case 4:
      return copy_planned(plan, static_cast<uint32_t*>(to.start), static_cast<const uint32_t*>(from.start));
    case 8:
      return copy_planned(plan, static_cast<uint64_t*>(to.start), static_cast<const uint64_t*>(from.start));
  }
  throw std::logic_error(cat("strided_copy: items of ", item_bytes, " bytes"));
}

}  // namespace pyformer
