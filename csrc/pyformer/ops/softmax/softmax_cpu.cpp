// softmax and log_softmax, vector code for one instruction set; formulas and order are those of softmax_ref.cpp.
// A row is read for its maximum, then for exp and the sum, then scaled while it is in cache.
#include "pyformer/ops/softmax/softmax_kernels.h"

#include "pyformer/base/math.h"
#include "pyformer/base/write.h"
#include "pyformer/ops/softmax/softmax_columns.h"
#include "pyformer/ops/softmax/softmax_rows.h"

namespace pyformer::PF_ISA {

template <class T>
static void softmax_forward(const SoftmaxForward& a, int64_t begin, int64_t end) {
  if (a.inner > 1) return softmax_forward_columns<T>(a, begin, end);
  alignas(64) T local[kReduceBlock];  // the allocator's would move between threads
  const int64_t C = a.cols;
  for (int64_t row = begin; row < end; ++row) {
    const T* x = static_cast<const T*>(a.x) + row * C;
    T* out = static_cast<T*>(a.out) + row * C;
    T* exps = a.nontemporal ? (C <= kReduceBlock ? local : static_cast<T*>(a.scratch)) : out;
    const Lanes<T> m = Lanes<T>::broadcast(row_max(x, C));
    const T sum = lanes_reduce<T>(C, [&](int64_t i, int64_t n, const Lanes<T>& lanes) {
      prefetch_lanes(x + C + i);
      const Lanes<T> e = exp_flush(load_logits(x + i, n) - m);
      store_lanes(e, exps + i, n);
      return lanes + e;
    });
    const Vec<T> inverse = Vec<T>::broadcast(T(1) / sum);
    write_row(out, C, a.nontemporal, [&](int64_t i, int64_t n) { return load_vec(exps + i, n) * inverse; });
  }
  if (a.nontemporal) nontemporal_fence();
}

template <class T>
static void softmax_backward(const SoftmaxBackward& a, int64_t begin, int64_t end) {
  if (a.inner > 1) return softmax_backward_columns<T>(a, begin, end);
  const int64_t C = a.cols;
  for (int64_t row = begin; row < end; ++row) {
    const T* dout = static_cast<const T*>(a.dout) + row * C;
    const T* out = static_cast<const T*>(a.saved) + row * C;
    T* dx = static_cast<T*>(a.dx) + row * C;
    const Vec<T> dot = Vec<T>::broadcast(lanes_reduce<T>(C, [&](int64_t i, int64_t n, const Lanes<T>& lanes) {
      return fma(load_lanes(dout + i, n), load_lanes(out + i, n), lanes);
    }));
    write_row(dx, C, a.nontemporal,
              [&](int64_t i, int64_t n) { return load_vec(out + i, n) * (load_vec(dout + i, n) - dot); });
  }
  if (a.nontemporal) nontemporal_fence();
}

template <class T>
static void log_softmax_forward(const SoftmaxForward& a, int64_t begin, int64_t end) {
  if (a.inner > 1) return log_softmax_forward_columns<T>(a, begin, end);
  const int64_t C = a.cols;
  for (int64_t row = begin; row < end; ++row) {
    const T* x = static_cast<const T*>(a.x) + row * C;
    T* out = static_cast<T*>(a.out) + row * C;
    const Lanes<T> m = Lanes<T>::broadcast(row_max(x, C));
    const T sum = lanes_reduce<T>(C, [&](int64_t i, int64_t n, const Lanes<T>& lanes) {
      prefetch_lanes(x + C + i);
      return lanes + exp_flush(load_logits(x + i, n) - m);
    });
    const Vec<T> m_vec = m.v[0], log_sum = Vec<T>::broadcast(log(sum));
    write_row(out, C, a.nontemporal, [&](int64_t i, int64_t n) { return (load_vec(x + i, n) - m_vec) - log_sum; });
  }
  if (a.nontemporal) nontemporal_fence();
}

template <class T>
static void log_softmax_backward(const SoftmaxBackward& a, int64_t begin, int64_t end) {
  if (a.inner > 1) return log_softmax_backward_columns<T>(a, begin, end);
  const int64_t C = a.cols;
  for (int64_t row = begin; row < end; ++row) {
    const T* dout = static_cast<const T*>(a.dout) + row * C;
    const T* out = static_cast<const T*>(a.saved) + row * C;
    T* dx = static_cast<T*>(a.dx) + row * C;
    const T sum = lanes_reduce<T>(
        C, [&](int64_t i, int64_t n, const Lanes<T>& lanes) { return lanes + load_lanes(dout + i, n); });
    const Vec<T> minus_sum = Vec<T>::broadcast(-sum);
    write_row(dx, C, a.nontemporal, [&](int64_t i, int64_t n) {
      return fma(exp_flush(load_vec(out + i, n)), minus_sum, load_vec(dout + i, n));
    });
  }
  if (a.nontemporal) nontemporal_fence();
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const SoftmaxTable& KernelsOf<SoftmaxTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA;
  static constexpr SoftmaxTable table = {
      for_loop_floats<Kernel<SoftmaxForward>>([]<class T>() -> Kernel<SoftmaxForward> { return softmax_forward<T>; }),
      for_loop_floats<Kernel<SoftmaxBackward>>(
          []<class T>() -> Kernel<SoftmaxBackward> { return softmax_backward<T>; }),
      for_loop_floats<Kernel<SoftmaxForward>>(
          []<class T>() -> Kernel<SoftmaxForward> { return log_softmax_forward<T>; }),
      for_loop_floats<Kernel<SoftmaxBackward>>(
          []<class T>() -> Kernel<SoftmaxBackward> { return log_softmax_backward<T>; })};
  return table;
}
}  // namespace pyformer
