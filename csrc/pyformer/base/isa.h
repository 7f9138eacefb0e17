// Which instruction set's kernels run. Chosen once from the CPU, or by PYFORMER_CPU_ISA=amx|avx512_bf16|avx512|avx2|
// portable|ref.
#pragma once
#include <string>

#include "pyformer/base/kernel.h"

namespace pyformer {

struct IsaRow {
  const char* name;
  int falls_back_to;  // the set whose kernels stand in for missing ones; -1: none
};
constexpr IsaRow kIsas[kIsaCount] = {{"ref", -1},   {"portable", 0},    {"avx2", 1},
                                     {"avx512", 2}, {"avx512_bf16", 3}, {"amx", 3}};
// It multiplies bfloat16; all else is that of the set it falls back to.
constexpr bool is_product_set(Isa isa) { return isa >= Isa::avx512_bf16; }

constexpr const char* name(Isa isa) { return kIsas[int(isa)].name; }
Isa isa_from_name(const std::string& name);  // ValueError unless it is one of them
// Compiled into this library.
constexpr bool is_built(Isa isa) {
#if !defined(PF_BUILT_X86)
  if (isa > Isa::portable) return false;
#endif
#if !defined(PF_BUILT_PORTABLE)
  if (isa == Isa::portable) return false;
#endif
  return int(isa) < kIsaCount;
}
bool is_supported(Isa isa);  // built, this CPU has it, and the system lets this process use it
Isa current_isa();
void set_isa(Isa isa);  // ValueError if it isn't supported; for tests and benchmarks

}  // namespace pyformer
