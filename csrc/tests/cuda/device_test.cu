// The test kernels and every PTX function for a GPU: what is emulated is also what a GPU is given.
#include "tests/cuda/layer_norm_kernel.h"
#include "tests/cuda/matmul_sm80_kernel.h"
#include "tests/cuda/matmul_sm90_kernel.h"

namespace pyformer::cuda {

template __global__ void layer_norm_test<Plant::nothing>(LayerNormTest);
template __global__ void matmul_sm80_test<BFloat16, Plant::nothing>(MatmulSm80Test);
template __global__ void matmul_sm80_test<Float16, Plant::nothing>(MatmulSm80Test);
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
template __global__ void matmul_sm90_test<BFloat16, Plant::nothing>(const __grid_constant__ MatmulSm90Test);
template __global__ void matmul_sm90_test<Float16, Plant::nothing>(const __grid_constant__ MatmulSm90Test);
#endif

}  // namespace pyformer::cuda
