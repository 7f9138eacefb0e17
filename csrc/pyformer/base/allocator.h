// Where Arrays get their memory. Freed memory is kept and handed out again, so a training step after the first few
// asks the system for nothing (first touch of fresh memory costs more than the arithmetic on it).
//
// Up to 1 MiB: classes of multiples of 64 bytes up to 512, then eight per power of two: at most an eighth is wasted.
// Larger blocks are multiples of 64 KiB, cut from mapped ranges (huge pages advised) of which free neighbours join:
// what activations held serves gradients and the optimiser's state (with classes alone these took a fifth more memory).
// Cached plus live memory is held below 1.1 times what was ever live at once (plus 64 MiB).
// PYFORMER_ALLOCATOR=system: no classes and no cache, every block of its exact size from the C library.
#pragma once
#include <cstdint>

namespace pyformer {

// 64-byte aligned, contents undefined, never null (also for 0 bytes). OutOfMemory if the machine cannot hold it,
// ValueError if bytes < 0.
void* allocate(int64_t bytes);
// bytes as given to allocate; null is ignored.
void deallocate(void* data, int64_t bytes) noexcept;
// Gives every cached block back to the system.
void empty_cache();

struct MemoryStats {
  int64_t live_bytes;  // blocks handed out, rounded up as above
  int64_t live_blocks;
  int64_t peak_bytes;    // the largest live_bytes since the start or reset_peak_memory()
  int64_t cached_bytes;  // blocks kept for reuse
  int64_t system_calls;  // how often memory was asked from the system
};
MemoryStats memory_stats();
void reset_peak_memory();

// For tests: new blocks are filled with 0xFF (NaN in every float dtype) and stand between 64-byte guard bands.
void set_guard_mode(bool on);
// Whether each block must have its exact size, because guard bands or a sanitizer look for writes outside of it.
bool watches_bounds();
// How many guarded blocks, freed or live, were written outside their bounds.
int64_t guard_violations();

}  // namespace pyformer
