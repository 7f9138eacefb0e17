// Mixed precision, on the calling thread: what products take their operands as, and that all else is float32.
//
// An op reads it where its forward pass begins and nowhere else: what it saved for backward says by its dtype in which
// mode it ran. In a mode
//   - products cast float32, bfloat16 and float16 operands to its dtype (product_operand) and give float32;
//   - every other op on floats but cast and to widens 16-bit operands to float32 first (has_narrow, widened).
// float64 stays as it is. Outside of a mode every op computes in its operands' dtype.
#pragma once
#include <optional>

#include "pyformer/core/tensor.h"

namespace pyformer {

using Precision = std::optional<DType>;  // bfloat16 or float32

Precision precision();
void set_precision(Precision mode);
class PrecisionMode {  // sets it for a scope
 public:
  explicit PrecisionMode(Precision mode) : previous_(precision()) { set_precision(mode); }
  ~PrecisionMode() { set_precision(previous_); }
  PrecisionMode(const PrecisionMode&) = delete;

 private:
  Precision previous_;
};

// The dtype in which a product takes operands of this one, and the operand so; undefined stays undefined.
DType operand_dtype(DType dtype);
Array product_operand(const Array& x);
inline Array product_operand(const Tensor& x) { return product_operand(x.array()); }
// The dtype of the result of a product of operands as product_operand gave them.
DType product_result(const Array& operand);

// Is there an operand to be widened?
bool has_narrow(TensorReferences inputs);
bool has_narrow(const std::vector<Tensor>& inputs);
// x in float32 if it is one of those, recorded; a leaf gets the float32 gradient as it comes.
Tensor widened(const Tensor& x);
Array widened(const Array& x);

}  // namespace pyformer
