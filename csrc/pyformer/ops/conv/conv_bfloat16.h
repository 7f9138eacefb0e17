// conv's programs in mixed precision, for the products of a CPU's set: float32 operands are rounded to bfloat16 and
// multiplied as matrices, the terms of some positions side by side, by gemm.
#pragma once
#include "pyformer/ops/conv/conv_kernels.h"

namespace pyformer {

void conv_to_result_bfloat16(Isa isa, const ConvMap& a);
void conv_to_image_bfloat16(Isa isa, const ConvMap& a);
void conv_weight_gradient_bfloat16(Isa isa, const ConvWeightGradient& a);

}  // namespace pyformer
