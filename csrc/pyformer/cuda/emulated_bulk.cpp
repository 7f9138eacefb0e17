#include "pyformer/cuda/emulated_bulk.h"

#include <cstring>

#include "pyformer/cuda/emulated_count.h"
#include "pyformer/cuda/emulated_mbarrier.h"
#include "pyformer/cuda/emulated_memory.h"
#include "pyformer/cuda/emulated_races.h"

namespace pyformer::emulated {

uint32_t swizzled(uint32_t address, cuda::Swizzle swizzle) {
  constexpr uint32_t kMask[] = {0, 7, 3, 1};
  return address ^ (address >> 7 & kMask[int(swizzle)]) << 4;
}

namespace {

struct Box {
  cuda::TensorMap map;
  int at[5];
  uint32_t shared;

  uint32_t bytes() const {
    uint32_t product = uint32_t(map.item_bytes);
    for (int i = 0; i < map.rank; ++i) product *= uint32_t(map.box[i]);
    return product;
  }
  // Of the element that stands at that byte of the box; null if it lies outside of the tensor.
  unsigned char* global(uint32_t byte) const {
    const unsigned char* p = map.base;
    uint32_t rest = byte / uint32_t(map.item_bytes);
    for (int i = 0; i < map.rank; ++i) {
      const int64_t index = at[i] + int64_t(rest % uint32_t(map.box[i]));
      rest /= uint32_t(map.box[i]);
      if (index < 0 || index >= map.sizes[i]) return nullptr;
      p += index * map.strides[i];
    }
    return const_cast<unsigned char*>(p);
  }
};

Box box_of(const cuda::TensorMap& map, const int* at, int rank, const void* shared) {
  require(rank == map.rank, "bulk tensor copy: as many coordinates as the tensor map has dimensions");
  require(reinterpret_cast<uintptr_t>(&map) % 64 == 0, "bulk tensor copy: the tensor map is not 64-byte aligned");
  Box box = {map, {}, shared_address(shared)};
  std::memcpy(box.at, at, size_t(rank) * sizeof(int));
  require(box.shared % 128 == 0, "bulk tensor copy: the shared address is not 128-byte aligned");
  require(box.shared + box.bytes() <= block->shared_bytes, "bulk tensor copy: the box ends beyond shared memory");
  return box;
}

// The lines of the box, as far as they lie within the tensor.
void count(const Box& box) {
  if (!settings.count) return;
  const uint32_t item = uint32_t(box.map.item_bytes), line = uint32_t(box.map.box[0]) * item;
  for (uint32_t start = 0; start < box.bytes(); start += line) {
    const unsigned char* first = nullptr;
    uint64_t bytes = 0;
    for (uint32_t byte = start; byte < start + line; byte += item)
      if (const unsigned char* p = box.global(byte)) first = first ? first : p, bytes += item;
    if (first) count_run(first, bytes);
  }
}

void load(const Box& box, uint64_t* bar) {
  for (uint32_t byte = 0; byte < box.bytes(); byte += uint32_t(box.map.item_bytes)) {
    const size_t size = size_t(box.map.item_bytes);
    const unsigned char zeros[8] = {};
    const unsigned char* from = box.global(byte);
    const uint32_t to = swizzled(box.shared + byte, box.map.swizzle);
    write_shared(to, from ? from : zeros, size);
  }
  mbarrier_complete(bar, box.bytes());
}

void store(const Box& box) {
  for (uint32_t byte = 0; byte < box.bytes(); byte += uint32_t(box.map.item_bytes))
    if (unsigned char* to = box.global(byte))
      std::memcpy(to, async_view() + swizzled(box.shared + byte, box.map.swizzle), size_t(box.map.item_bytes));
}

void check_bulk(const void* shared, const void* global, uint32_t bytes) {
  require(shared_address(shared) % 16 == 0 && reinterpret_cast<uintptr_t>(global) % 16 == 0 && bytes % 16 == 0,
          "bulk copy: addresses and size must be multiples of 16 bytes");
  require(shared_address(shared) + bytes <= block->shared_bytes, "bulk copy: it ends beyond shared memory");
}

}  // namespace

void load_box(void* shared, const cuda::TensorMap& map, const int* at, int rank, uint64_t* bar) {
  const Box box = box_of(map, at, rank, shared);
  ++counters.bulk_loads;
  count(box);
  writes(shared, box.bytes());
  mbarrier_is_used(bar);
  const Unwatched unwatched;
  std::memset(block->shared + box.shared, 0xff, box.bytes());
  arrives_later([=] { load(box, bar); });
}

void store_box(const cuda::TensorMap& map, const int* at, int rank, const void* shared) {
  const Box box = box_of(map, at, rank, shared);
  ++counters.bulk_stores;
  count(box);
  reads(shared, box.bytes());
  const Unwatched unwatched;
  self->stores.add([=] { store(box); });
}

void load_bulk(void* shared, const void* global, uint32_t bytes, uint64_t* bar) {
  check_bulk(shared, global, bytes);
  ++counters.bulk_loads;
  if (settings.count) count_run(global, bytes);
  writes(shared, bytes);
  mbarrier_is_used(bar);
  const Unwatched unwatched;
  const uint32_t to = shared_address(shared);
  std::memset(shared, 0xff, bytes);
  arrives_later([=] {
    write_shared(to, global, bytes);
    mbarrier_complete(bar, bytes);
  });
}

void store_bulk(void* global, const void* shared, uint32_t bytes) {
  check_bulk(shared, global, bytes);
  ++counters.bulk_stores;
  if (settings.count) count_run(global, bytes);
  reads(shared, bytes);
  const Unwatched unwatched;
  self->stores.add([=, from = shared_address(shared)] { std::memcpy(global, async_view() + from, bytes); });
}

}  // namespace pyformer::emulated
