// A layer_norm gives the same right bits in every schedule; mistakes that are planted in it are found.
#include <cmath>

#include "tests/cuda/layer_norm_kernel.h"
#include "tests/cuda/schedules.h"

namespace pyformer::cuda {
namespace {

using namespace emulated;

constexpr int kRows = 5, kCols = 768;

template <Plant plant>
std::vector<float> layer_norm() {
  const std::vector<float> x = numbers(kRows * kCols, 1), weight = numbers(kCols, 2), bias = numbers(kCols, 3);
  std::vector<float> out(x.size(), NAN);
  launch(layer_norm_test<plant>, kRows, LayerNormShared::kThreads, sizeof(LayerNormShared), nullptr,
         LayerNormTest{kCols, 1e-5f, x.data(), weight.data(), bias.data(), out.data()});
  return out;
}

std::vector<double> expected() {
  const std::vector<float> x = numbers(kRows * kCols, 1), weight = numbers(kCols, 2), bias = numbers(kCols, 3);
  std::vector<double> out(x.size());
  for (int row = 0; row < kRows; ++row) {
    double mean = 0, variance = 0;
    for (int c = 0; c < kCols; ++c) mean += double(x[row * kCols + c]) / kCols;
    for (int c = 0; c < kCols; ++c) variance += std::pow(x[row * kCols + c] - mean, 2) / kCols;
    for (int c = 0; c < kCols; ++c)
      out[row * kCols + c] = (x[row * kCols + c] - mean) / std::sqrt(variance + 1e-5) * weight[c] + bias[c];
  }
  return out;
}

}  // namespace
}  // namespace pyformer::cuda

void test_layer_norm() {
  using namespace pyformer::cuda;
  const auto same = [](float x) { return x; };
  const auto right = right_in_every_schedule<float>(layer_norm<Plant::nothing>, expected(), 1e-5, same);
  for (const char* schedule : {"lowest", "highest"}) {
    found<float>("a missing __syncthreads", schedule, layer_norm<Plant::no_barrier>, right, "");
    found<float>("an index beyond shared memory", schedule, layer_norm<Plant::out_of_bounds>, right,
                 "past the end of shared memory");
  }
}
