// dropout, vector code for one instruction set: the words of 1,024 elements, then their selection.
#include "pyformer/ops/dropout/dropout_kernels.h"

#include "pyformer/base/philox.h"

namespace pyformer::PF_ISA {

template <class T>
static void forward(const DropoutForward& a, int64_t begin, int64_t end) {
  constexpr int64_t chunk = 1024;
  uint32_t words[chunk];
  const T scale = T(a.scale);
  const uint32_t threshold = a.threshold;
  for (int64_t start = begin; start < end; start += chunk) {
    const int64_t n = end - start < chunk ? end - start : chunk;
    random_words(a.seed, a.stream, uint64_t(start), n, words);
    const T* x = static_cast<const T*>(a.x) + start;
    T* out = static_cast<T*>(a.out) + start;
    for (int64_t i = 0; i < n; ++i) {
      const T kept = x[i] * scale;
      out[i] = words[i] >= threshold ? kept : T(0);
    }
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const DropoutTable& KernelsOf<DropoutTable, PF_ISA::kIsa>::table() {
  static constexpr DropoutTable table = {{{PF_ISA::forward<float>, PF_ISA::forward<double>}}};
  return table;
}
}  // namespace pyformer
