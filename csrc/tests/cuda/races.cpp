// The test kernels for sanitizers: nothing is wrong with `right`; `beyond` reads beyond an array of global memory; each
// other word is a kernel with a race.
#include <cstdio>
#include <cstring>

#include "tests/cuda/primitives_kernel.h"
#include "tests/cuda/runs.h"

namespace pyformer::cuda {

template <Plant plant>
void wgmma_registers() {
  std::vector<float> out(128);
  launch(wgmma_registers_test<plant>, 1, 128, sizeof(WgmmaShared), nullptr, out.data());
}

}  // namespace pyformer::cuda

int main(int, char** words) {
  using namespace pyformer;
  using namespace pyformer::cuda;
  const auto is = [&](const char* word) { return !std::strcmp(words[1], word); };
  const emulated::With settings("plain");
  if (is("right")) {
    layer_norm<Plant::nothing>();
    matmul_sm80<BFloat16, Plant::nothing>();
    matmul_sm90<BFloat16, Plant::nothing>();
    wgmma_registers<Plant::nothing>();
  } else if (is("layer_norm")) {
    layer_norm<Plant::no_barrier>();
  } else if (is("matmul_sm80")) {
    matmul_sm80<BFloat16, Plant::no_barrier>();
  } else if (is("matmul_sm90")) {
    matmul_sm90<BFloat16, Plant::no_barrier>();
  } else if (is("matmul_sm90 no_wgmma_wait")) {
    matmul_sm90<BFloat16, Plant::no_wgmma_wait>();
  } else if (is("primitives early_read")) {
    wgmma_registers<Plant::early_read>();
  } else if (is("primitives early_write")) {
    wgmma_registers<Plant::early_write>();
  } else if (is("beyond")) {
    const std::vector<float> one_row = numbers(kNormCols, 1);
    std::vector<float> out(2 * kNormCols);
    launch(layer_norm_test<Plant::nothing>, 2, LayerNormShared::kThreads, sizeof(LayerNormShared), nullptr,
           LayerNormTest{kNormCols, 1e-5f, one_row.data(), one_row.data(), one_row.data(), out.data()});
  } else {
    return std::printf("no such run: %s\n", words[1]), 2;
  }
  return 0;
}
