// The library's own arithmetic, vector code for one instruction set: float32 to and from bfloat16, as convert.h does.
#include "pyformer/core/arithmetic/arithmetic_kernels.h"

#include "pyformer/base/bfloat16_vec.h"
#include "pyformer/core/arithmetic/convert.h"

namespace pyformer::PF_ISA {

template <class From, class To>
static void cast(const Cast& a, int64_t begin, int64_t end) {
  if (a.wanted != DTypeOf<To>::value) return convert_elements<From>(a, begin, end);
  constexpr int64_t W = Vec<float>::width;
  const From* x = static_cast<const From*>(a.x);
  To* out = static_cast<To*>(a.out);
  int64_t i = begin;
  for (; i + W <= end; i += W) store_rounded(load_widened(x + i), out + i);
  if (i < end) store_rounded(load_widened(x + i, end - i), out + i, end - i);
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const ArithmeticTable& KernelsOf<ArithmeticTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr ArithmeticTable table = {{}, {}, {{cast<float, BFloat16>, nullptr, cast<BFloat16, float>}}, {}, {},
                                            {}, {}};
  return table;
}
}  // namespace pyformer
