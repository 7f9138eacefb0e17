// Shared memory as instructions see it, copies into it, and the counting of what accesses cost.
#pragma once
#include <cstddef>
#include <cstdint>

#include "pyformer/cuda/emulated_count.h"

namespace pyformer::emulated {

// The offset within the block's shared memory. A fault if it is elsewhere.
uint32_t shared_address(const void* shared);

// What the async proxy sees, and a write of its own, which threads see too.
const unsigned char* async_view();
void write_shared(uint32_t at, const void* from, size_t bytes);
// fence.proxy.async: it sees from now on what threads wrote before.
void fence_proxy_async();

// cp.async: the first `valid` bytes are copied, the rest are zeros. NaN until it is done.
void copy_async(void* shared, const void* global, unsigned bytes, unsigned valid, const Place& place);

// A lane's row of a matrix that ldmatrix reads or stmatrix writes; `used` if the instruction uses this lane's.
void give_row(const char* op, const void* row, bool used, bool writes_it);

// row(0) to row(7) are accessed at once.
template <class Row>
void count_matrix(const Row& row) {
  const void* rows[8];
  for (int r = 0; r < 8; ++r) rows[r] = row(r);
  count_rows(rows);
}

}  // namespace pyformer::emulated
