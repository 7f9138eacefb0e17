// Arrays as operands of products, which round float32 to bfloat16 where they read it.
#pragma once
#include "pyformer/core/array.h"
#include "pyformer/ops/matmul/gemm.h"

namespace pyformer {

// array, used transposed or not, as the operand of a product that takes it in the dtype `operands`.
Operand operand_of(const Array& array, int64_t stride, bool transposed, DType operands);
// TypeError unless both are of one dtype, or of the dtype `operands` or the result's, `wanted`, to be rounded to it.
void check_operand(const char* op, const char* which, const Array& operand, const char* x_name, const Array& x,
                   DType operands, DType wanted);

}  // namespace pyformer
