// A layer_norm gives the same right bits in every schedule; mistakes that are planted in it are found.
#include "tests/cuda/layer_norm_kernel.h"

#include <cmath>

#include "tests/cuda/schedules.h"

namespace pyformer::cuda {
namespace {

constexpr int kRows = 5, kCols = 768;

std::vector<float> values(size_t count, uint32_t seed) {
  std::vector<float> v(count);
  for (float& x : v) x = float(int((seed = seed * 1664525u + 1013904223u) >> 16) - 32768) / 16384;
  return v;
}

template <Plant plant>
std::vector<float> layer_norm() {
  const std::vector<float> x = values(kRows * kCols, 1), weight = values(kCols, 2), bias = values(kCols, 3);
  std::vector<float> out(x.size(), NAN);
  launch(layer_norm_test<plant>, kRows, LayerNormShared::kThreads, sizeof(LayerNormShared), nullptr,
         LayerNormTest{kCols, 1e-5f, x.data(), weight.data(), bias.data(), out.data()});
  return out;
}

std::vector<float> right() {
  const std::vector<float> x = values(kRows * kCols, 1), weight = values(kCols, 2), bias = values(kCols, 3);
  std::vector<float> out(x.size());
  for (int row = 0; row < kRows; ++row) {
    double mean = 0, variance = 0;
    for (int c = 0; c < kCols; ++c) mean += double(x[row * kCols + c]) / kCols;
    for (int c = 0; c < kCols; ++c) variance += std::pow(x[row * kCols + c] - mean, 2) / kCols;
    for (int c = 0; c < kCols; ++c)
      out[row * kCols + c] = float((x[row * kCols + c] - mean) / std::sqrt(variance + 1e-5) * weight[c] + bias[c]);
  }
  return out;
}

}  // namespace
}  // namespace pyformer::cuda

void test_layer_norm() {
  using namespace pyformer;
  using namespace pyformer::cuda;
  const std::vector<float> expected = right();
  std::vector<float> first;
  for (const std::string& schedule : emulated::schedules()) {
    const auto got = emulated::outcome<float>(schedule, layer_norm<Plant::nothing>);
    if (!got.fault.empty()) throw std::runtime_error(schedule + ": " + got.fault);
    for (size_t i = 0; i < expected.size(); ++i) REQUIRE(std::fabs(got.out[i] - expected[i]) < 1e-5);
    if (first.empty()) first = got.out;
    REQUIRE(emulated::same_bits(got.out, first));
  }
  for (const char* schedule : {"lowest", "highest"}) {
    REQUIRE(!emulated::same_bits(emulated::outcome<float>(schedule, layer_norm<Plant::no_barrier>).out, first));
    const std::string fault = emulated::outcome<float>(schedule, layer_norm<Plant::out_of_bounds>).fault;
    REQUIRE(fault.find("past the end of shared memory") != std::string::npos);
  }
}
