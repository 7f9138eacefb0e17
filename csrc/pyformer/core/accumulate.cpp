#include "pyformer/core/accumulate.h"

#include "pyformer/base/thread_pool.h"

namespace pyformer {

template <class T>
static void add(T* out, const T* a, const T* b, int64_t size) {
  constexpr int64_t grain = 1 << 15;
  parallel_for((size + grain - 1) / grain, 1, [&](int64_t begin, int64_t end) {
    const int64_t stop = std::min(size, end * grain);
    for (int64_t i = begin * grain; i < stop; ++i) out[i] = a[i] + b[i];
  });
}

Array added(const Array& a, const Array& b) {
  if (!(a.shape() == b.shape()) || a.dtype() != b.dtype())
    throw std::logic_error(
        cat("gradient of ", name(b.dtype()), " ", b.shape().str(), " for ", name(a.dtype()), " ", a.shape().str()));
  const Array out = a.owns_alone() ? a : b.owns_alone() ? b : Array::empty(a.shape(), a.dtype());
  if (a.dtype() == DType::float64) {
    add(out.data<double>(), a.data<double>(), b.data<double>(), a.size());
  } else {
    add(out.data<float>(), a.data<float>(), b.data<float>(), a.size());
  }
  out.storage().written();
  return out;
}

Array ones_like(const Array& array) {
  const Array out = Array::empty(array.shape(), gradient_dtype(array.dtype()));
  if (out.dtype() == DType::float64) {
    std::fill_n(out.data<double>(), out.size(), 1.0);
  } else {
    std::fill_n(out.data<float>(), out.size(), 1.0f);
  }
  return out;
}

}  // namespace pyformer
