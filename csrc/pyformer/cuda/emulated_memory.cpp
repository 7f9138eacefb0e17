#include "pyformer/cuda/emulated_memory.h"

#include <cstring>

#include "pyformer/cuda/emulated_races.h"

namespace pyformer::emulated {

uint32_t shared_address(const void* shared) {
  const auto at = static_cast<const unsigned char*>(shared) - block->shared;
  require(at >= 0 && at < int64_t(block->shared_bytes), "an address of shared memory lies outside of the block's");
  return uint32_t(at);
}

const unsigned char* async_view() { return settings.proxy ? block->shared_async : block->shared; }

void write_shared(uint32_t at, const void* from, size_t bytes) {
  std::memcpy(block->shared + at, from, bytes);
  std::memcpy(block->shared_async + at, from, bytes);
}

void fence_proxy_async() {
  const Unwatched unwatched;
  std::memcpy(block->shared_async, block->shared, block->shared_bytes);
}

void copy_async(void* shared, const void* global, unsigned bytes, unsigned valid, const Place& place) {
  ++counters.cp_async;
  require(valid <= bytes, "cp.async: more bytes are valid than are copied");
  require(shared_address(shared) % bytes == 0, "cp.async: the shared address is not aligned");
  require(reinterpret_cast<uintptr_t>(global) % bytes == 0, "cp.async: the global address is not aligned");
  count_access(global, valid, place);
  count_access(shared, bytes, place);
  reads(global, valid);
  writes(shared, bytes);
  const Unwatched unwatched;
  std::memset(shared, 0xff, bytes);
  self->copies.add([=] {
    std::memset(shared, 0, bytes);
    std::memcpy(shared, global, valid);
  });
}

void give_row(const char* op, const void* row, bool used, bool writes_it) {
  if (shared_address(row) % 16) fail(std::string(op) + ": a row is not 16-byte aligned");
  if (!used) return;
  if (writes_it)
    writes(row, 16);
  else
    reads(row, 16);
}

}  // namespace pyformer::emulated
