// The memory of Arrays on the CPU. The allocator keeps freed blocks and hands them out again, so after its first few
// steps training asks the system for no memory (the first write to fresh memory costs more than the arithmetic on it).
//
// Blocks of up to 1 MiB come in size classes: multiples of 64 bytes up to 512 bytes, then eight classes a power of two,
// which wastes at most an eighth. Larger blocks are multiples of 64 KiB, lasting ones of 4 KiB, and are cut from mapped
// ranges, for which huge pages are advised. Free neighbours in a range join, so memory that held activations can hold
// gradients and the optimiser's state next (with size classes alone these took a fifth more memory). The allocator
// gives memory back to the system so that cached and live memory together stay below 1.1 times the most that was ever
// live, plus 64 MiB. With PYFORMER_ALLOCATOR=system there are no classes and no cache: each block comes from the C
// library in its exact size.
#pragma once
#include <cstdint>
#include <memory>

namespace pyformer {

// 64-byte aligned, contents undefined, never null (also for 0 bytes). OutOfMemory if the machine cannot hold it,
// ValueError if bytes < 0.
void* allocate(int64_t bytes);
// bytes as given to allocate; null is ignored.
void deallocate(void* data, int64_t bytes) noexcept;
// Memory that stays for long and is read from end to end, as weights are: in huge pages, and beside what was taken
// before it, where blocks of its size are not.
std::shared_ptr<void> lasting_memory(int64_t bytes);
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
