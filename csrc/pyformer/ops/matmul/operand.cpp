#include "pyformer/ops/matmul/operand.h"

namespace pyformer {

Operand operand_of(const Array& array, int64_t stride, bool transposed, DType operands) {
  return {array.raw(), stride, transposed, 0, array.dtype() != operands};
}

void check_operand(const char* op, const char* which, const Array& operand, const char* x_name, const Array& x,
                   DType operands, DType wanted) {
  const auto fits = [&](const Array& a) { return a.dtype() == operands || a.dtype() == wanted; };
  if (fits(operand) && fits(x)) return check_device(op, which, operand, x_name, x);
  check_alike(op, which, operand, x_name, x);
}

}  // namespace pyformer
