// Elementwise ops, plain loops over the formulas of elementwise_functions.h, and the two sums that take a gradient
// back to the shape of a broadcast operand.
#include "pyformer/base/reduce.h"
#include "pyformer/ops/elementwise/elementwise_functions.h"

namespace pyformer::PF_ISA::elementwise {
namespace {

struct Loops {
  template <class F, class T>
  static void unary(const Unary& a, int64_t begin, int64_t end) {
    const T* x = static_cast<const T*>(a.x);
    T* out = static_cast<T*>(a.out);
    for (int64_t i = begin; i < end; ++i) out[i] = F::at(x[i]);
  }

  template <class F, class T>
  static void unary_gradient(const UnaryGradient& a, int64_t begin, int64_t end) {
    const T* dout = static_cast<const T*>(a.dout);
    const T* saved = static_cast<const T*>(a.saved);
    T* dx = static_cast<T*>(a.dx);
    for (int64_t i = begin; i < end; ++i) dx[i] = F::gradient(dout[i], saved[i]);
  }

  template <class F, class T>
  static void binary(const Binary& args, int64_t begin, int64_t end) {
    walk_rows(args.in, begin, end, [&](const int64_t* at, int64_t start, int64_t n) {
      const T* a = static_cast<const T*>(args.in.data[0]) + at[0];
      const T* b = static_cast<const T*>(args.in.data[1]) + at[1];
      T* out = static_cast<T*>(args.out) + start;
      for (int64_t i = 0; i < n; ++i) out[i] = F::at(a[args.in.steps[0] ? i : 0], b[args.in.steps[1] ? i : 0]);
    });
  }

  template <class F, class T>
  static void binary_gradient(const BinaryGradient& args, int64_t begin, int64_t end) {
    walk_rows(args.in, begin, end, [&](const int64_t* at, int64_t start, int64_t n) {
      const T* dout = static_cast<const T*>(args.in.data[0]) + at[0];
      const T* a = static_cast<const T*>(args.in.data[1]) + at[1];
      const T* b = static_cast<const T*>(args.in.data[2]) + at[2];
      T* out = static_cast<T*>(args.out) + start;
      for (int64_t i = 0; i < n; ++i) out[i] = F::at(dout[i], a[args.in.steps[1] ? i : 0], b[args.in.steps[2] ? i : 0]);
    });
  }

  // Chains of additions from +0 over 256 consecutive rows, added in index order.
  template <class T>
  static void sum_columns(const SumColumns& a, int64_t begin, int64_t end) {
    const int64_t strips = (a.inner + a.kStrip - 1) / a.kStrip;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t outer = item / strips, first = item % strips * a.kStrip;
      const int64_t last = first + a.kStrip < a.inner ? first + a.kStrip : a.inner;
      const T* x = static_cast<const T*>(a.x) + outer * a.length * a.inner;
      T* out = static_cast<T*>(a.out) + outer * a.inner;
      for (int64_t c = first; c < last; ++c) {
        T total = T(0);
        for (int64_t start = 0; start < a.length; start += kChainLength) {
          const int64_t stop = start + kChainLength < a.length ? start + kChainLength : a.length;
          T chain = T(0);
          for (int64_t r = start; r < stop; ++r) chain = chain + x[r * a.inner + c];
          total = start == 0 ? chain : total + chain;
        }
        out[c] = total;
      }
    }
  }

  template <class T>
  static void sum_rows(const SumRows& a, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const T* x = static_cast<const T*>(a.x) + row * a.length;
      static_cast<T*>(a.out)[row] = row_sum<T>(a.length, [&](int64_t i) { return x[i]; });
    }
  }
};

}  // namespace
}  // namespace pyformer::PF_ISA::elementwise

namespace pyformer {
template <>
const ElementwiseKernels& elementwise_kernels<PF_ISA::kIsa>() {
  static constexpr ElementwiseKernels kernels = PF_ISA::elementwise::kernels_of<PF_ISA::elementwise::Loops>();
  return kernels;
}
}  // namespace pyformer
