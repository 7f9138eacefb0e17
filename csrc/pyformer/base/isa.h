// Which instruction set's kernels run. Chosen once from the CPU, or by PYFORMER_CPU_ISA=portable|avx2|avx512|ref.
#pragma once
#include <string>

#include "pyformer/base/kernel.h"

namespace pyformer {

const char* name(Isa isa);
Isa isa_from_name(const std::string& name);  // ValueError unless it is one of the four
bool is_built(Isa isa);                      // compiled into this library
bool is_supported(Isa isa);                  // built, and this CPU has it
Isa current_isa();
void set_isa(Isa isa);  // ValueError if it isn't supported; for tests and benchmarks

}  // namespace pyformer
