// The test kernels and every PTX function of sm_80, for a GPU: what is emulated is also what a GPU is given.
#include "tests/cuda/layer_norm_kernel.h"
#include "tests/cuda/matmul_sm80_kernel.h"
#include "tests/cuda/primitives_kernel.h"

namespace pyformer::cuda {

const void* sm80_kernels[] = {
    reinterpret_cast<const void*>(layer_norm_test<Plant::nothing>),
    reinterpret_cast<const void*>(matmul_sm80_test<BFloat16, Plant::nothing>),
    reinterpret_cast<const void*>(matmul_sm80_test<Float16, Plant::nothing>),
    reinterpret_cast<const void*>(mma_test<BFloat16>),
    reinterpret_cast<const void*>(mma_test<Float16>),
    reinterpret_cast<const void*>(mma_tf32_test<>),
    reinterpret_cast<const void*>(lanes_test<>),
    reinterpret_cast<const void*>(matrix_test<false, 1>),
    reinterpret_cast<const void*>(matrix_test<false, 2>),
    reinterpret_cast<const void*>(matrix_test<false, 4>),
    reinterpret_cast<const void*>(matrix_test<true, 1>),
    reinterpret_cast<const void*>(matrix_test<true, 2>),
    reinterpret_cast<const void*>(matrix_test<true, 4>),
};

}  // namespace pyformer::cuda
