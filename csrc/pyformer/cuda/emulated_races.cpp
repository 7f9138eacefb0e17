#include "pyformer/cuda/emulated_races.h"

#include "pyformer/cuda/emulated.h"

namespace pyformer::emulated {

#if defined(PYFORMER_EMULATED_RACES)
void reads(const void* data, unsigned bytes) { __tsan_read_range(const_cast<void*>(data), bytes); }
void writes(const void* data, unsigned bytes) { __tsan_write_range(const_cast<void*>(data), bytes); }
void releases(const void* object) { __tsan_release(const_cast<void*>(object)); }
void acquires(const void* object) { __tsan_acquire(const_cast<void*>(object)); }
#else
void reads(const void*, unsigned) {}
void writes(const void*, unsigned) {}
void releases(const void*) {}
void acquires(const void*) {}
#endif

}  // namespace pyformer::emulated
