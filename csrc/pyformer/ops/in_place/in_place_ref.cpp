// scale_, zero_ and copy_, plain loops.
#include "pyformer/ops/in_place/in_place_kernels.h"

#include <cstring>

#include "pyformer/base/element.h"

namespace pyformer::PF_ISA {

template <class T>
static void scale(const ScalePieces& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  if (a.factor && *a.factor == 1.0) return;
  const double wanted = a.factor ? *a.factor : a.number;
  // A factor that is too small for A, as the clipping of huge gradients has, is two that are not.
  constexpr double kSmall = sizeof(A) == 4 ? 0x1p-100 : 0x1p-960;
  const bool split = wanted != 0 && wanted < kSmall && wanted > -kSmall;
  const A first = split ? A(kSmall) : A(1), factor = A(split ? wanted / kSmall : wanted);
  for (int64_t item = begin; item < end; ++item) {
    const auto x = in<T>(a.pieces[item].to);
    const auto out = to<T>(a.pieces[item].to);
    for (int64_t i = 0; i < a.pieces[item].count; ++i) out[i] = x[i] * first * factor;
  }
}

template <class T>
static void zero(const WritePieces& a, int64_t begin, int64_t end) {
  for (int64_t item = begin; item < end; ++item)
    std::memset(a.pieces[item].to, 0, size_t(a.pieces[item].count) * sizeof(T));
}

template <class T>
static void copy(const WritePieces& a, int64_t begin, int64_t end) {
  for (int64_t item = begin; item < end; ++item)
    std::memcpy(a.pieces[item].to, a.pieces[item].from, size_t(a.pieces[item].count) * sizeof(T));
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const InPlaceTable& KernelsOf<InPlaceTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr InPlaceTable table = {
      for_each_float<Kernel<ScalePieces>>([]<class T>() -> Kernel<ScalePieces> { return scale<T>; }),
      per_item_size<Kernel<WritePieces>>([]<class T>() -> Kernel<WritePieces> { return zero<T>; }),
      per_item_size<Kernel<WritePieces>>([]<class T>() -> Kernel<WritePieces> { return copy<T>; })};
  return table;
}
}  // namespace pyformer
