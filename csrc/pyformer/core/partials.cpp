#include "pyformer/core/partials.h"

#include "pyformer/base/thread_pool.h"

namespace pyformer {

template <class T>
static void sum_columns(const Array& partials, Array& out) {
  const int64_t chunks = partials.dim(0), cols = out.size();
  const T* in = partials.data<T>();
  T* sum = out.data<T>();
  constexpr int64_t grain = 4096;
  parallel_for(cols, grain, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) sum[c] = chunks ? in[c] : T(0);
    for (int64_t p = 1; p < chunks; ++p)
      for (int64_t c = begin; c < end; ++c) sum[c] = sum[c] + in[p * cols + c];
  });
}

Array sum_partials(const Array& partials) {
  Array out = Array::empty(Shape(partials.shape().begin() + 1, partials.ndim() - 1), partials.dtype());
  if (partials.dtype() == DType::float64)
    sum_columns<double>(partials, out);
  else
    sum_columns<float>(partials, out);
  return out;
}

}  // namespace pyformer
