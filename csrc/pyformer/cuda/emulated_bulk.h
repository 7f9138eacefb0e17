// Bulk copies between global and shared memory (TMA), through the async proxy.
#pragma once
#include <cstdint>

#include "pyformer/cuda/tensor_map.h"

namespace pyformer::emulated {

// Where a byte that stands at `address` without swizzle stands with it.
uint32_t swizzled(uint32_t address, cuda::Swizzle swizzle);

void load_box(void* shared, const cuda::TensorMap& map, const int* at, int rank, uint64_t* bar);
void store_box(const cuda::TensorMap& map, const int* at, int rank, const void* shared);
void load_bulk(void* shared, const void* global, uint32_t bytes, uint64_t* bar);
void store_bulk(void* global, const void* shared, uint32_t bytes);

}  // namespace pyformer::emulated
