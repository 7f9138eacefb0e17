// Every access of a kernel to the device's memory and to shared memory is counted, and every FMA:
// bench/cuda_roofline.py wants them. Kernels are compiled with -fsanitize=thread for that, which makes GCC call these
// functions at accesses, and are not linked with the race detector.
#include "pyformer/cuda/emulated_count.h"

namespace pyformer::emulated {

namespace {

// Lanes are at one place if they return to one address.
void count(const void* data, unsigned bytes, const void* returns_to) {
  if (!settings.count || !self || block->meeting) return;
  const auto* at = static_cast<const unsigned char*>(data);
  const bool is_shared = at >= block->shared && at < block->shared + block->shared_bytes;
  if (is_shared || is_device_memory(data)) count_access(data, bytes, {static_cast<const char*>(returns_to), 0});
}

}  // namespace
}  // namespace pyformer::emulated

#define PF_ACCESS(name, bytes) \
  void __tsan_##name(void* data) { pyformer::emulated::count(data, bytes, __builtin_return_address(0)); }
#define PF_ACCESSES(bytes)                 \
  PF_ACCESS(read##bytes, bytes)            \
  PF_ACCESS(write##bytes, bytes)           \
  PF_ACCESS(unaligned_read##bytes, bytes)  \
  PF_ACCESS(unaligned_write##bytes, bytes) \
  PF_ACCESS(volatile_read##bytes, bytes)   \
  PF_ACCESS(volatile_write##bytes, bytes)

extern "C" {
PF_ACCESSES(1)
PF_ACCESSES(2)
PF_ACCESSES(4)
PF_ACCESSES(8)
PF_ACCESSES(16)
void __tsan_read_range(void* data, unsigned long bytes) {
  pyformer::emulated::count(data, unsigned(bytes), __builtin_return_address(0));
}
void __tsan_write_range(void* data, unsigned long bytes) {
  pyformer::emulated::count(data, unsigned(bytes), __builtin_return_address(0));
}
void __tsan_vptr_update(void*, void*) {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}
// Of variables that a function initialises once.
unsigned char __tsan_atomic8_load(const volatile unsigned char* data, int) {
  return __atomic_load_n(data, __ATOMIC_ACQUIRE);
}

// The linker has kernels call these (--wrap).
float __real_fmaf(float a, float b, float c);
double __real_fma(double a, double b, double c);
float __wrap_fmaf(float a, float b, float c) {
  ++pyformer::emulated::counters.fmas;
  return __real_fmaf(a, b, c);
}
double __wrap_fma(double a, double b, double c) {
  ++pyformer::emulated::counters.fmas;
  return __real_fma(a, b, c);
}
}
