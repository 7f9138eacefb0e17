// softmax and log_softmax, vector code for one instruction set; formulas and order are those of softmax_ref.cpp.
// A row is read for its maximum, then for exp and the sum, then scaled while it is in cache.
#include "pyformer/ops/softmax/softmax_kernels.h"

#include "pyformer/base/math.h"
#include "pyformer/ops/softmax/softmax_rows.h"

namespace pyformer::PF_ISA {

template <class T>
static void softmax_forward(const SoftmaxForward& a, int64_t begin, int64_t end) {
  const int64_t C = a.cols;
  for (int64_t row = begin; row < end; ++row) {
    const T* x = static_cast<const T*>(a.x) + row * C;
    T* out = static_cast<T*>(a.out) + row * C;
    const Lanes<T> m = Lanes<T>::broadcast(row_max(x, C));
    const T sum = lanes_reduce<T>(C, [&](int64_t i, int64_t n, const Lanes<T>& lanes) {
      const Lanes<T> e = exp_flush(load_logits(x + i, n) - m);
      store_lanes(e, out + i, n);
      return lanes + e;
    });
    const Lanes<T> inverse = Lanes<T>::broadcast(T(1) / sum);
    for (int64_t i = 0; i < C; i += kLanes) {
      const int64_t n = C - i < kLanes ? C - i : kLanes;
      store_lanes(load_lanes(out + i, n) * inverse, out + i, n);
    }
  }
}

template <class T>
static void softmax_backward(const SoftmaxBackward& a, int64_t begin, int64_t end) {
  const int64_t C = a.cols;
  for (int64_t row = begin; row < end; ++row) {
    const T* dout = static_cast<const T*>(a.dout) + row * C;
    const T* out = static_cast<const T*>(a.out) + row * C;
    T* dx = static_cast<T*>(a.dx) + row * C;
    const Lanes<T> dot = Lanes<T>::broadcast(lanes_reduce<T>(C, [&](int64_t i, int64_t n, const Lanes<T>& lanes) {
      return fma(load_lanes(dout + i, n), load_lanes(out + i, n), lanes);
    }));
    for (int64_t i = 0; i < C; i += kLanes) {
      const int64_t n = C - i < kLanes ? C - i : kLanes;
      store_lanes(load_lanes(out + i, n) * (load_lanes(dout + i, n) - dot), dx + i, n);
    }
  }
}

template <class T>
static void log_softmax_forward(const SoftmaxForward& a, int64_t begin, int64_t end) {
  const int64_t C = a.cols;
  for (int64_t row = begin; row < end; ++row) {
    const T* x = static_cast<const T*>(a.x) + row * C;
    T* out = static_cast<T*>(a.out) + row * C;
    const Lanes<T> m = Lanes<T>::broadcast(row_max(x, C));
    const T sum = lanes_reduce<T>(
        C, [&](int64_t i, int64_t n, const Lanes<T>& lanes) { return lanes + exp_flush(load_logits(x + i, n) - m); });
    const Lanes<T> log_sum = Lanes<T>::broadcast(log(sum));
    for (int64_t i = 0; i < C; i += kLanes) {
      const int64_t n = C - i < kLanes ? C - i : kLanes;
      store_lanes((load_lanes(x + i, n) - m) - log_sum, out + i, n);
    }
  }
}

template <class T>
static void log_softmax_backward(const SoftmaxBackward& a, int64_t begin, int64_t end) {
  const int64_t C = a.cols;
  for (int64_t row = begin; row < end; ++row) {
    const T* dout = static_cast<const T*>(a.dout) + row * C;
    const T* out = static_cast<const T*>(a.out) + row * C;
    T* dx = static_cast<T*>(a.dx) + row * C;
    const T sum = lanes_reduce<T>(
        C, [&](int64_t i, int64_t n, const Lanes<T>& lanes) { return lanes + load_lanes(dout + i, n); });
    const Lanes<T> minus_sum = Lanes<T>::broadcast(-sum);
    for (int64_t i = 0; i < C; i += kLanes) {
      const int64_t n = C - i < kLanes ? C - i : kLanes;
      store_lanes(fma(exp_flush(load_lanes(out + i, n)), minus_sum, load_lanes(dout + i, n)), dx + i, n);
    }
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const SoftmaxKernels& softmax_kernels<PF_ISA::kIsa>() {
  using namespace PF_ISA;
  static constexpr SoftmaxKernels kernels = {{softmax_forward<float>, softmax_forward<double>},
                                             {softmax_backward<float>, softmax_backward<double>},
                                             {log_softmax_forward<float>, log_softmax_forward<double>},
                                             {log_softmax_backward<float>, log_softmax_backward<double>}};
  return kernels;
}
}  // namespace pyformer
