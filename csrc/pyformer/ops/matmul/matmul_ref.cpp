// matmul, plain loops. What they define, for c = op(a) op(b):
//
//   sum = ((p0 + p1) + p2) + ...,  p_i = fma(a[k], b[k], ...) from +0 over 256 consecutive k;  +0 where K = 0
//   pre = sum + bias[n],  value = activation(pre) * factor,  c = value + residual
#include "pyformer/ops/matmul/matmul_epilogue.h"

namespace pyformer::PF_ISA {

template <class T>
static T dot(const T* a, int64_t a_stride, const T* b, int64_t b_stride, int64_t k, bool continue_sum, T sum) {
  int64_t start = 0;
  do {
    const int64_t stop = start + kChainLength < k ? start + kChainLength : k;
    T chain = T(0);
    for (int64_t i = start; i < stop; ++i) chain = fma(a[i * a_stride], b[i * b_stride], chain);
    sum = start == 0 && !continue_sum ? chain : sum + chain;
    start = stop;
  } while (start < k);
  return sum;
}

template <class T>
static void rows(const MatmulRows& g, int64_t begin, int64_t end) {
  const T* b = static_cast<const T*>(g.b);
  const auto load = [](const T* p) { return *p; };
  const auto store = [](T* p, T value) { *p = value; };
  with_activation(g.epilogue.activation, [&]<Activation activation>() {
    for (int64_t i = begin; i < end; ++i) {
      const T* a = static_cast<const T*>(g.a) + i * g.a_stride;
      for (int64_t j = 0; j < g.n; ++j) {
        const int64_t at = i * g.c_stride + j;
        T* c = static_cast<T*>(g.c) + at;
        const T sum =
            dot(a, g.a_k_stride, b + j * g.b_stride, g.b_k_stride, g.k, g.continue_sum, g.continue_sum ? *c : T(0));
        *c = finish<activation, T>(g.epilogue, sum, j, at, load, store);
      }
    }
  });
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const MatmulKernels& matmul_kernels<PF_ISA::kIsa>() {
  static constexpr MatmulKernels kernels = {.tile_rows = {},
                                            .tile_cols = {},
                                            .thin_rows = {},
                                            .vector_width = {},
                                            .pack_a = {},
                                            .pack_b = {},
                                            .multiply = {},
                                            .thin = {},
                                            .rows = {PF_ISA::rows<float>, PF_ISA::rows<double>}};
  return kernels;
}
}  // namespace pyformer
