// The test kernels on inputs of their own, with a mistake planted in them or with none.
#pragma once
#include <cmath>

#include "tests/cuda/layer_norm_kernel.h"
#include "tests/cuda/matmul_sm80_kernel.h"
#include "tests/cuda/matmul_sm90_kernel.h"
#include "tests/cuda/schedules.h"

namespace pyformer::cuda {

using emulated::numbers;

constexpr int kNormRows = 5, kNormCols = 768;

template <Plant plant>
std::vector<float> layer_norm() {
  const std::vector<float> x = numbers(kNormRows * kNormCols, 1), weight = numbers(kNormCols, 2),
                           bias = numbers(kNormCols, 3);
  std::vector<float> out(x.size(), NAN);
  launch(layer_norm_test<plant>, kNormRows, LayerNormShared::kThreads, sizeof(LayerNormShared), nullptr,
         LayerNormTest{kNormCols, 1e-5f, x.data(), weight.data(), bias.data(), out.data()});
  return out;
}

constexpr int kM = 100, kN = 136, kK = 264;

template <class T>
std::vector<T> matrix(int rows, int cols, uint32_t seed) {
  std::vector<T> v;
  for (const float x : numbers(size_t(rows) * cols, seed)) v.push_back(rounded<T>(x));
  return v;
}

template <class T, Plant plant>
std::vector<float> matmul_sm80() {
  const std::vector<T> a = matrix<T>(kM, kK, 4), b = matrix<T>(kN, kK, 5);
  std::vector<float> c(kM * kN, NAN);
  launch(matmul_sm80_test<T, plant>, dim3((kN + 63) / 64, (kM + 63) / 64), MatmulSm80Shared::kThreads,
         sizeof(MatmulSm80Shared), nullptr, MatmulSm80Test{kM, kN, kK, &a.data()->bits, &b.data()->bits, c.data()});
  return c;
}

template <class T>
TensorMap map_of(const std::vector<T>& v, int rows, int cols) {
  return tensor_map(v.data(), DTypeOf<T>::value,
                    TensorMapShape<2>{{cols, rows}, {2, cols * 2}, {64, 64}, Swizzle::bytes_128});
}

template <class T, Plant plant>
std::vector<T> matmul_sm90() {
  const std::vector<T> a = matrix<T>(kM, kK, 4), b = matrix<T>(kN, kK, 5);
  std::vector<T> c(kM * kN, T{0xffff});
  launch(matmul_sm90_test<T, plant>, dim3((kN + 63) / 64, (kM + 63) / 64), MatmulSm90Shared::kThreads,
         sizeof(MatmulSm90Shared), nullptr,
         MatmulSm90Test{map_of(a, kM, kK), map_of(b, kN, kK), map_of(c, kM, kN), kK});
  return c;
}

}  // namespace pyformer::cuda
