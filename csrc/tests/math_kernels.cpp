// The functions of math.h and philox.h for one instruction set.
#include "math_functions.h"
#include "pyformer/base/philox.h"

namespace pyformer {
namespace PF_ISA {

#define PF_UNARY(name)                                                                         \
  {#name,                                                                                      \
   [](const T* x, T* y, int64_t n) {                                                           \
     for (int64_t i = 0; i < n; i += kLanes) PF_ISA::name(Lanes<T>::load(x + i)).store(y + i); \
   },                                                                                          \
   [](const T* x, T* y, int64_t n) {                                                           \
     for (int64_t i = 0; i < n; ++i) y[i] = PF_ISA::name(x[i]);                                \
   }}

template <class T>
constexpr MathCase<T> kUnary[] = {
    PF_UNARY(exp),
    PF_UNARY(exp_flush),
    PF_UNARY(log),
    PF_UNARY(tanh),
    PF_UNARY(erf),
    PF_UNARY(sin),
    PF_UNARY(cos),
    PF_UNARY(sigmoid),
    PF_UNARY(silu),
    PF_UNARY(silu_derivative),
    PF_UNARY(softplus),
    PF_UNARY(gelu_erf),
    PF_UNARY(gelu_tanh),
    PF_UNARY(gelu_erf_derivative),
    PF_UNARY(gelu_tanh_derivative),
};

template <class T>
constexpr MathCases<T> kCases = {
    kUnary<T>,
    int(sizeof(kUnary<T>) / sizeof(kUnary<T>[0])),
    [](const T* x, const T* y, T* z, int64_t n) {
      for (int64_t i = 0; i < n; i += kLanes) PF_ISA::pow(Lanes<T>::load(x + i), Lanes<T>::load(y + i)).store(z + i);
    },
    [](const T* x, const T* y, T* z, int64_t n) {
      for (int64_t i = 0; i < n; ++i) z[i] = PF_ISA::pow(x[i], y[i]);
    },
    random_uniform<T>,
    random_normal<T>,
};

const MathFunctions kFunctions = {
    kCases<float>,
    kCases<double>,
    random_words,
    [](const uint32_t* counter, const uint32_t* key, uint32_t* out) {
      const PhiloxWords w = philox_4x32({{counter[0], counter[1], counter[2], counter[3]}}, key[0], key[1]);
      for (int k = 0; k < 4; ++k) out[k] = w.word[k];
    },
};

}  // namespace PF_ISA

template <>
const MathFunctions& math_functions<PF_ISA::kIsa>() {
  return PF_ISA::kFunctions;
}

}  // namespace pyformer
