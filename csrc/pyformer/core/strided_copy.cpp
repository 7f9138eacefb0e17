#include "pyformer/core/strided_copy.h"

#include <cstring>

#include "pyformer/base/thread_pool.h"

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

template <class T>
static void copy_row(int64_t n, T* to, int64_t to_stride, const T* from, int64_t from_stride) {
  if (to_stride == 1 && from_stride == 1) {
    std::memcpy(to, from, size_t(n) * sizeof(T));
  } else {
    for (int64_t i = 0; i < n; ++i) to[i * to_stride] = from[i * from_stride];
  }
}

template <class T>
static void copy_planned(const Plan& p, T* to, const T* from) {
  const int inner = p.ndim - 1;
  int64_t rows = 1;
  for (int i = 0; i < inner; ++i) rows *= p.extents[i];
  const int64_t grain = std::max<int64_t>(1, (int64_t(1) << 14) / p.extents[inner]);
  parallel_for(rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      int64_t rest = row, to_offset = 0, from_offset = 0;
      for (int i = inner - 1; i >= 0; --i) {
        const int64_t index = rest % p.extents[i];
        rest /= p.extents[i];
        to_offset += index * p.to[i];
        from_offset += index * p.from[i];
      }
      copy_row(p.extents[inner], to + to_offset, p.to[inner], from + from_offset, p.from[inner]);
    }
  });
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
