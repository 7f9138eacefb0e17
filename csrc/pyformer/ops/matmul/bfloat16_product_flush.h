// Denormals as zeros by the CPU's own mode, for a tile alone. For sets that have AVX2.
#pragma once
#include "pyformer/base/vec.h"

namespace pyformer::PF_ISA {

// Denormals are zeros going in and coming out while it lives.
class FlushDenormals {
 public:
  FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040); }
  ~FlushDenormals() { _mm_setcsr(saved_); }
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  unsigned saved_;
};

}  // namespace pyformer::PF_ISA
