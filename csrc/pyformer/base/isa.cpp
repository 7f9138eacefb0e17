#include "pyformer/base/isa.h"

#include <atomic>
#include <cstdlib>

#include "pyformer/base/error.h"

#if defined(PF_BUILT_X86)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace pyformer {

Isa isa_from_name(const std::string& wanted) {
  for (int i = 0; i < kIsaCount; ++i)
    if (wanted == name(Isa(i))) return Isa(i);
  throw ValueError(cat("instruction set must be ref, portable, avx2, avx512, avx512_bf16 or amx, got '", wanted, "'"));
}

#if defined(PF_BUILT_X86)
// CPUID's leaf 7 says in these bits what the CPU has.
static bool has_avx512_bf16() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1);
}
static bool has_amx_bf16() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1) && (d >> 24 & 1);
}

// Linux gives a process AMX's registers only after it has asked. Old kernels, filters of system calls and signal stacks
// that are too small deny it; threads and forked children have what the process had.
static bool is_amx_permitted() {
#if defined(__linux__)
  constexpr int kRequestPermission = 0x1023, kTileData = 18;
  static const bool permitted = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return permitted;
#else
  return false;
#endif
}

// VDPBF16PS does half as many multiply-adds a cycle as FMA on Intel's CPUs up to Granite Rapids, and twice as many on
// AMD's Zen 4.
static bool is_bf16_faster_than_fma() { return __builtin_cpu_is("amd"); }
#endif

bool is_supported(Isa isa) {
#if defined(PF_BUILT_X86)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
  if (isa == Isa::amx) return avx512 && has_amx_bf16() && is_amx_permitted();
  if (isa == Isa::avx512_bf16) return avx512 && has_avx512_bf16();
  if (isa == Isa::avx512) return avx512;
  if (isa == Isa::avx2) return avx2;
#endif
  return is_built(isa);
}

static bool is_worth_choosing([[maybe_unused]] Isa isa) {
#if defined(PF_BUILT_X86)
  if (isa == Isa::avx512_bf16) return is_bf16_faster_than_fma();
#endif
  return true;
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
    if (is_worth_choosing(Isa(i)) && is_supported(Isa(i))) return Isa(i);
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
