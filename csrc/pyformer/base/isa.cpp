#include "pyformer/base/isa.h"

#include <atomic>
#include <cstdlib>

#include "pyformer/base/error.h"

namespace pyformer {

Isa isa_from_name(const std::string& wanted) {
  for (int i = 0; i < kIsaCount; ++i)
    if (wanted == name(Isa(i))) return Isa(i);
  throw ValueError(cat("instruction set must be ref, portable, avx2 or avx512, got '", wanted, "'"));
}

bool is_built(Isa isa) {
#if defined(PF_BUILT_X86)
  return int(isa) < kIsaCount;
#else
  return isa <= Isa::portable;
#endif
}

bool is_supported(Isa isa) {
#if defined(PF_BUILT_X86)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
  if (isa == Isa::avx512) return avx512;
  if (isa == Isa::avx2) return avx2;
#endif
  return is_built(isa);
}

static Isa choose() {
  if (const char* wanted = std::getenv("PYFORMER_CPU_ISA"); wanted && *wanted) {
    Isa isa;
    try {
      isa = isa_from_name(wanted);
    } catch (const ValueError& error) {
      throw ValueError(cat("PYFORMER_CPU_ISA: ", error.what()));
    }
    if (!is_supported(isa)) throw ValueError(cat("PYFORMER_CPU_ISA=", wanted, ": this CPU or build does not have it"));
    return isa;
  }
  for (int i = kIsaCount - 1; i > 0; --i)
    if (is_supported(Isa(i))) return Isa(i);
  return Isa::ref;
}

static std::atomic<int>& chosen() {
  static std::atomic<int> isa{int(choose())};
  return isa;
}

Isa current_isa() { return Isa(chosen().load(std::memory_order_relaxed)); }

void set_isa(Isa isa) {
  if (!is_supported(isa)) throw ValueError(cat("instruction set ", name(isa), ": this CPU or build does not have it"));
  chosen() = int(isa);
}

}  // namespace pyformer
