// Helpers shared by ops whose kernels walk rows.
#pragma once
#include "pyformer/core/array.h"

namespace pyformer {

// (chunks, ...) -> (...): partial sums added in index order, ((p0 + p1) + p2) + ...; zeros where there are no chunks.
Array sum_partials(const Array& partials);

// Rows of an array (..., C).
inline int64_t rows_of(const Array& x) { return x.shape().outer(x.ndim() - 1); }

// Rows a task should take: about 16k elements, so that a busy neighbour delays little and handing out costs little.
inline int64_t grain_of_rows(int64_t cols) {
  return std::max<int64_t>(1, (int64_t(1) << 14) / std::max<int64_t>(1, cols));
}

// From how many bytes on an output is written past the caches: a line that is stored in a cache is read from memory
// first. Of what a product reads next that is 8 MiB, as products hide their reads behind arithmetic; of what anything
// may read next, only what no cache would hold until then.
constexpr int64_t kStreamedToProducts = int64_t(8) << 20, kStreamedToAll = int64_t(32) << 20;

}  // namespace pyformer
