// Mixed precision, on the calling thread: what products take their operands as, and that all else is float32.
//
// An op reads it where its forward pass begins and nowhere else: what it saved for backward says in which mode it ran.
// In a mode
//   - products take float32, bfloat16 and float16 operands in its dtype and give float32: linear's and what is made of
//     them keep float32 as it is and round it where they read it (unrounded_operand), others cast (product_operand);
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
// The same for products that round float32 where they read it, to the mode's dtype.
Array unrounded_operand(const Array& x);
inline Array unrounded_operand(const Tensor& x) { return unrounded_operand(x.array()); }
// The dtype of the result of a product of operands as these gave them.
DType product_result(const Array& operand);

// Is there an operand to be widened?
bool has_narrow(TensorReferences inputs);
bool has_narrow(const std::vector<Tensor>& inputs);
// x in float32 if it is one of those, recorded; a leaf gets the float32 gradient as it comes.
Tensor widened(const Tensor& x);
Array widened(const Array& x);
DType widened(DType dtype);

}  // namespace pyformer
