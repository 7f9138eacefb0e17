// The arithmetic that the tape and all ops are built on, on any device: filling, adding gradients, conversions, copies,
// sums of partial sums, checks of ids.
#pragma once
#include "pyformer/core/array.h"

namespace pyformer {

// Sets every element to value, given as the bits of one element of the array's dtype.
void fill_(const Array& array, uint64_t bits);
// The bits of a number in a dtype, rounded once. Integers must fit.
uint64_t bits_of(double value, DType dtype);
uint64_t bits_of(int64_t value, DType dtype);

// Ones of array's shape and dtype.
Array ones_like(const Array& array);

// a + b (same shape and dtype), in the memory of whichever of them nobody else holds, else in new memory.
Array added(const Array& a, const Array& b);

// x in another dtype; x itself if it has it.
Array cast(const Array& x, DType dtype);

// (chunks, ...) -> (...): partial sums added in index order, ((p0 + p1) + p2) + ...; zeros where there are no chunks.
Array sum_partials(const Array& partials);

// A rectangular region: where it starts and how far apart its elements lie along each axis, in elements (may be < 0).
struct Region {
  void* start;
  int64_t strides[Shape::kMaxDims];
};
// The row-major region that starts `offset` elements into an array.
Region region_of(const Array& array, int64_t offset = 0);
// to[i...] = from[i...] for all i within extents; the regions lie on one device and must not overlap.
void strided_copy(const Shape& extents, DType dtype, Device device, const Region& to, const Region& from);

// A copy of ids as int64, which later writes to ids leave alone. TypeError unless they are int64 or int32.
Array int64_copy(const char* op, const char* what, const Array& ids);
// The same, each within [0, limit): IndexError naming the first that is outside. On a device, where nothing waits for
// it here, the error is raised by the next call that waits for the device (raise_pending). `op` and `what` must be
// string literals.
Array checked_ids(const char* op, const char* what, const Array& ids, int64_t limit);
// Waits for the device and raises what checked_ids found there since.
void raise_pending(Device device);

}  // namespace pyformer
