// The same for sm_90a: bulk copies, and wgmma in each of its widths.
#include <utility>
#include <vector>

#include "tests/cuda/matmul_sm90_kernel.h"
#include "tests/cuda/primitives_kernel.h"

namespace pyformer::cuda {

const void* sm90_kernels[] = {
    reinterpret_cast<const void*>(matmul_sm90_test<BFloat16, Plant::nothing>),
    reinterpret_cast<const void*>(matmul_sm90_test<Float16, Plant::nothing>),
    reinterpret_cast<const void*>(box_test<2>),
    reinterpret_cast<const void*>(box_test<3>),
    reinterpret_cast<const void*>(bulk_test<>),
    reinterpret_cast<const void*>(wgmma_test<BFloat16, 64, false, Major::mn, Major::k>),
    reinterpret_cast<const void*>(wgmma_test<Float16, 64, false, Major::k, Major::mn>),
    reinterpret_cast<const void*>(wgmma_test<BFloat16, 128, true, Major::k, Major::mn>),
};

template <int... eighths>
std::vector<const void*> widths(std::integer_sequence<int, eighths...>) {
  return {reinterpret_cast<const void*>(wgmma_test<BFloat16, 8 * (eighths + 1), false, Major::k, Major::k>)...,
          reinterpret_cast<const void*>(wgmma_test<Float16, 8 * (eighths + 1), true, Major::k, Major::k>)...};
}
std::vector<const void*> of_all_widths = widths(std::make_integer_sequence<int, 32>());

}  // namespace pyformer::cuda
