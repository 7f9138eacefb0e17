// Every test kernel for a GPU: compiled by nvcc, so that what is emulated is also what a GPU is given.
#include "tests/cuda/layer_norm_kernel.h"

namespace pyformer::cuda {

template __global__ void layer_norm_test<Plant::nothing>(LayerNormTest);

}  // namespace pyformer::cuda
