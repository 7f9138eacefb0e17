// What accesses of memory cost, where settings.count is on. The lanes of a warp access it together if they do so at one
// place in the source, each for the same time.
#pragma once
#include <cstdint>

#include "pyformer/cuda/emulated.h"

namespace pyformer::emulated {

struct Place {
  const char* file;
  unsigned line;
};
// This lane reads or writes so many bytes (0: it takes part and accesses nothing), of shared or global memory.
void count_access(const void* data, unsigned bytes, const Place& place);
// For load and store where the compiler has every access counted (PF_COUNTED, counted_accesses.cpp): they are one each.
void copy_uncounted(void* to, const void* from, unsigned bytes);
// Whether an address is of the device's memory (runtime_emulated.cpp).
bool is_device_memory(const void* data);
// Bytes of global memory that a bulk copy moves, a run of adjacent ones.
void count_run(const void* data, uint64_t bytes);
// Eight rows of 16 bytes of shared memory, as ldmatrix reads and stmatrix writes them; counted always.
void count_rows(const void* const (&rows)[8]);

// At the end of a block: accesses in which not all lanes took part.
void count_rest();
void forget_accesses();

// Adds what has been counted since `before` to the kernel's counters.
void count_launch(const Launch& launch, const Counters& before);

}  // namespace pyformer::emulated
