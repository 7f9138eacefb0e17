// cache_append: a thread for each element.
#include "pyformer/cuda/kernel.h"
#include "pyformer/ops/cache_append/cache_append_kernels.h"

namespace pyformer::cuda {

template <class T>  // unsigned: only sets the width of an element
struct AppendElement {
  using Args = CacheAppend;
  static DEVICE void at(const Args& a, int64_t i) {
    const Divided token = divided(i, a.token_size), row = divided(token.quotient, a.tokens);
    const int64_t to = row.quotient * a.room + a.starts[row.quotient] + row.rest;
    static_cast<T*>(a.cache)[to * a.token_size + token.rest] = static_cast<const T*>(a.fresh)[i];
  }
};
template <class T>
static void append(const CacheAppend& a, int64_t, int64_t tokens) {
  start_items<AppendElement<T>>(a, tokens * a.token_size);
}

template <>
const CacheAppendTable& cuda_table<CacheAppendTable>() {
  static constexpr CacheAppendTable table = {
      per_item_size<Kernel<CacheAppend>>([]<class T>() -> Kernel<CacheAppend> { return append<T>; })};
  return table;
}

}  // namespace pyformer::cuda
