// cache_append, plain loops.
#include "pyformer/ops/cache_append/cache_append_kernels.h"

#include <cstring>

#include "pyformer/base/element.h"

namespace pyformer::PF_ISA {

template <class T>
static void append(const CacheAppend& a, int64_t begin, int64_t end) {
  for (int64_t item = begin; item < end; ++item) {
    const int64_t b = item / a.tokens, to = b * a.room + a.starts[b] + item % a.tokens;
    std::memcpy(static_cast<T*>(a.cache) + to * a.token_size, static_cast<const T*>(a.fresh) + item * a.token_size,
                size_t(a.token_size) * sizeof(T));
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const CacheAppendTable& KernelsOf<CacheAppendTable, PF_ISA::kIsa>::table() {
  static constexpr CacheAppendTable table = {
      PF_ISA::per_item_size<Kernel<CacheAppend>>([]<class T>() -> Kernel<CacheAppend> { return PF_ISA::append<T>; })};
  return table;
}
}  // namespace pyformer
