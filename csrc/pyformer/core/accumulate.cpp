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

void accumulate(Array& into, Array gradient) {
  if (!(into.shape() == gradient.shape()) || into.dtype() != gradient.dtype())
    throw std::logic_error(cat("gradient of ", name(gradient.dtype()), " ", gradient.shape().str(), " for ",
                               name(into.dtype()), " ", into.shape().str()));
  Array out = into.owns_alone() ? into : Array::empty(into.shape(), into.dtype());
  if (into.dtype() == DType::float64) {
    add(out.data<double>(), into.data<double>(), gradient.data<double>(), into.size());
  } else {
    add(out.data<float>(), into.data<float>(), gradient.data<float>(), into.size());
  }
  out.storage().written();
  into = std::move(out);
}

Array ones_like(const Array& array) {
  Array out = Array::empty(array.shape(), array.dtype());
  if (array.dtype() == DType::float64)
    std::fill_n(out.data<double>(), out.size(), 1.0);
  else
    std::fill_n(out.data<float>(), out.size(), 1.0f);
  return out;
}

}  // namespace pyformer
