#include "pyformer/cuda/emulated_memory.h"

#include <algorithm>
#include <cstring>

#include "pyformer/cuda/emulated_races.h"

namespace pyformer::emulated {

uint32_t shared_address(const void* shared) {
  const auto at = static_cast<const unsigned char*>(shared) - block->shared;
  require(at >= 0 && at < int64_t(block->shared_bytes), "an address of shared memory lies outside of the block's");
  return uint32_t(at);
}

void copy_async(void* shared, const void* global, unsigned bytes, unsigned valid) {
  ++counters.cp_async;
  require(valid <= bytes, "cp.async: more bytes are valid than are copied");
  require(shared_address(shared) % bytes == 0, "cp.async: the shared address is not aligned");
  require(reinterpret_cast<uintptr_t>(global) % bytes == 0, "cp.async: the global address is not aligned");
  reads(global, valid);
  writes(shared, bytes);
  const Unwatched unwatched;
  std::memset(shared, 0xff, bytes);
  self->copies.add([=] {
    std::memset(shared, 0, bytes);
    std::memcpy(shared, global, valid);
  });
}

void give_row(const void* row, bool used, bool) {
  require(shared_address(row) % 16 == 0, "ldmatrix: a row is not 16-byte aligned");
  if (used) reads(row, 16);
}

void count_rows(const void* const (&rows)[8]) {
  unsigned in_bank[8] = {};
  for (const void* row : rows) ++in_bank[reinterpret_cast<uintptr_t>(row) / 16 % 8];
  counters.wavefronts += *std::max_element(in_bank, in_bank + 8);
  ++counters.ideal_wavefronts;
}

}  // namespace pyformer::emulated
