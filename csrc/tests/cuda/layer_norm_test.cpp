// A layer_norm gives the same right bits in every schedule; mistakes that are planted in it are found.
#include "tests/cuda/runs.h"

namespace pyformer::cuda {
namespace {

using namespace emulated;

std::vector<double> expected() {
  const std::vector<float> x = numbers(kNormRows * kNormCols, 1), weight = numbers(kNormCols, 2),
                           bias = numbers(kNormCols, 3);
  std::vector<double> out(x.size());
  for (int row = 0; row < kNormRows; ++row) {
    double mean = 0, variance = 0;
    for (int c = 0; c < kNormCols; ++c) mean += double(x[row * kNormCols + c]) / kNormCols;
    for (int c = 0; c < kNormCols; ++c) variance += std::pow(x[row * kNormCols + c] - mean, 2) / kNormCols;
    for (int c = 0; c < kNormCols; ++c)
      out[row * kNormCols + c] = (x[row * kNormCols + c] - mean) / std::sqrt(variance + 1e-5) * weight[c] + bias[c];
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
