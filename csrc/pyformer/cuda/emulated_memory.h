// Shared memory as instructions see it, copies into it, and the counting of what accesses cost.
#pragma once
#include <cstdint>

#include "pyformer/cuda/emulated.h"

namespace pyformer::emulated {

// The offset within the block's shared memory. A fault if it is elsewhere.
uint32_t shared_address(const void* shared);

// cp.async: the first `valid` bytes are copied, the rest are zeros. NaN until it is done.
void copy_async(void* shared, const void* global, unsigned bytes, unsigned valid);

// A lane's row of a matrix that ldmatrix reads or stmatrix writes; `used` if the instruction uses this lane's.
void give_row(const void* row, bool used, bool writes_it);

// Counts how often shared memory is accessed for eight rows of 16 bytes: once if they lie in eight banks of 16 bytes.
void count_rows(const void* const (&rows)[8]);
template <class Row>
void count_matrix(const Row& row) {
  const void* rows[8];
  for (int r = 0; r < 8; ++r) rows[r] = row(r);
  count_rows(rows);
}

}  // namespace pyformer::emulated
