// A file of its own, since it reads numbers on the CPU: the ValueError needs the answer at once.
#include <cmath>

#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/ops/quantized_linear/quantized_linear.h"
#include "pyformer/ops/reduce/reduce.h"
#include "pyformer/ops/to/to.h"

namespace pyformer {

static constexpr int64_t kMostQuantized = 65504;  // the largest float16: a block's scale and minimum are of that dtype

void check_quantizable(QuantFormat format, const Array& weight) {
  if (format != QuantFormat::q8 && format != QuantFormat::q8_0 && format != QuantFormat::q4_1)
    throw ValueError(cat("quantize: format must be q8, Q8_0 or Q4_1, got '", kQuantFormats[int(format)].name, "'"));
  if (!is_float(weight.dtype()) || weight.ndim() != 2)
    throw TypeError(
        cat("quantize: expected a float matrix (n, k), got ", name(weight.dtype()), " ", weight.shape().str()));
  if (weight.size() == 0) return;  // quantized_weight refuses it
  const Tensor numbers(weight);
  for (const Tensor& extreme : {max(numbers, {}, false), min(numbers, {}, false)}) {
    const Array found = to(cast(extreme.array(), DType::float64), kCpu);
    const double value = *static_cast<const double*>(found.raw());
    if (!(std::abs(value) <= kMostQuantized))
      throw ValueError(cat("quantize: expected finite numbers of at most ", kMostQuantized, ", got ", value));
  }
}

}  // namespace pyformer
