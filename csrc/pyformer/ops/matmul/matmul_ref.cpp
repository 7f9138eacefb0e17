// matmul, plain loops. What they define, for c = op(a) op(b):
//
//   sum = ((p0 + p1) + p2) + ...,  p_i = fma(a[k], b[k], ...) from +0 over 256 consecutive k;  +0 where K = 0;
//         for bfloat16 the sum of bfloat16_dot.h
//   pre = sum + bias[n],  value = activation(pre) * factor (times_slope),  c = value + residual
//
// 16-bit operands are widened, everything up to the store of c is float32.
#include "pyformer/base/bfloat16_dot.h"
#include "pyformer/base/element.h"
#include "pyformer/ops/matmul/matmul_epilogue.h"

namespace pyformer::PF_ISA {

// a(i) and b(i), i < k; continues `sum` where that is wanted.
template <class T, class A, class B>
static Accumulator<T> dot(int64_t k, const A& a, const B& b, bool continue_sum, Accumulator<T> sum) {
  if constexpr (DTypeOf<T>::value == DType::bfloat16) return bfloat16_dot(k, a, b, sum);
  int64_t start = 0;
  do {
    const int64_t stop = start + kChainLength < k ? start + kChainLength : k;
    Accumulator<T> chain = 0;
    for (int64_t i = start; i < stop; ++i) chain = fma(a(i), b(i), chain);
    sum = start == 0 && !continue_sum ? chain : sum + chain;
    start = stop;
  } while (start < k);
  return sum;
}

// Element i of an operand, which is float32 to be rounded where `wide`.
template <class T>
static PF_INLINE Accumulator<T> element(const void* operand, bool wide, int64_t i) {
  if constexpr (DTypeOf<T>::value == DType::bfloat16)
    if (wide) return to_float(to_bfloat16(static_cast<const float*>(operand)[i]));
  return in<T>(operand)[i];
}

// C: c's type, T or its accumulator.
template <class T, class C>
static void rows_to(const MatmulRows& g, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  const auto bias = in<C>(g.epilogue.bias);
  for (int64_t i = begin; i < end; ++i) {
    const auto c = to<C>(g.c) + i * g.c_stride;
    const auto a = [&](int64_t p) { return element<T>(g.a, g.wide_a, i * g.a_stride + p * g.a_k_stride); };
    for (int64_t j = 0; j < g.n; ++j) {
      const auto b = [&](int64_t p) { return element<T>(g.b, g.wide_b, j * g.b_stride + p * g.b_k_stride); };
      const A sum = dot<T>(g.k, a, b, g.continue_sum, g.continue_sum ? A(c[j]) : A(0));
      const int64_t at = i * g.c_stride + j;
      with_activation(g.epilogue.activation, [&]<class F>() {
        c[j] = finish<F, A>(
            g.epilogue, sum, [&] { return A(bias[j]); }, [&](const void* m) { return A(in<C>(m)[at]); },
            [&](void* m, A value) { to<C>(m)[at] = value; });
      });
    }
  }
}

template <class T>
static void rows(const MatmulRows& g, int64_t begin, int64_t end) {
  g.wide_c ? rows_to<T, Accumulator<T>>(g, begin, end) : rows_to<T, T>(g, begin, end);
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const MatmulTable& KernelsOf<MatmulTable, PF_ISA::kIsa>::table() {
  static constexpr MatmulTable table = {
      .tile_rows = {},
      .tile_cols = {},
      .thin_rows = {},
      .vector_width = {},
      .reads_rows = {},
      .pack_a = {},
      .pack_b = {},
      .multiply = {},
      .thin = {},
      .rows = for_each_float<Kernel<MatmulRows>>([]<class T>() -> Kernel<MatmulRows> { return PF_ISA::rows<T>; })};
  return table;
}
}  // namespace pyformer
