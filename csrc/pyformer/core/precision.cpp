#include "pyformer/core/precision.h"

#include "pyformer/core/arithmetic/arithmetic.h"

namespace pyformer {

static thread_local Precision mode;

Precision precision() { return mode; }

void set_precision(Precision wanted) {
  if (wanted && *wanted != DType::bfloat16 && *wanted != DType::float32)
    throw ValueError(cat("autocast: expected bfloat16 or float32, got ", name(*wanted)));
  mode = wanted;
}

static bool is_half(DType dtype) { return is_float(dtype) && item_bytes(dtype) == 2; }
static bool is_half(const Array& x) { return x.defined() && is_half(x.dtype()); }
static bool is_narrow(const Array& x) { return mode && is_half(x); }

DType operand_dtype(DType dtype) { return mode && (is_half(dtype) || dtype == DType::float32) ? *mode : dtype; }

Array product_operand(const Array& x) { return x.defined() ? cast(x, operand_dtype(x.dtype())) : x; }

Array unrounded_operand(const Array& x) { return x.defined() && x.dtype() == DType::float32 ? x : product_operand(x); }

DType product_result(const Array& operand) { return is_narrow(operand) ? DType::float32 : operand.dtype(); }

bool has_narrow(TensorReferences inputs) {
  if (!mode) return false;
  for (const Tensor& x : inputs)
    if (is_half(x.array())) return true;
  return false;
}

bool has_narrow(const std::vector<Tensor>& inputs) {
  for (const Tensor& x : inputs)
    if (is_narrow(x.array())) return true;
  return false;
}

DType widened(DType dtype) { return mode && is_half(dtype) ? DType::float32 : dtype; }

Array widened(const Array& x) { return is_narrow(x) ? cast(x, DType::float32) : x; }

Tensor widened(const Tensor& x) {
  if (!is_narrow(x.array())) return x;
  return record("cast", {x}, cast(x.array(), DType::float32),
                [](const Array& dout, const Needs&) -> Gradients { return {dout}; });
}

}  // namespace pyformer
