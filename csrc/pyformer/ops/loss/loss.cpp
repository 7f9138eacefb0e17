#include "pyformer/ops/loss/loss.h"

#include "pyformer/base/run.h"
#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/ops/loss/loss_kernels.h"
#include "pyformer/ops/reduce/reduce.h"

namespace pyformer {

Reduction reduction_from_name(const char* op, const std::string& name) {
  if (name == "mean") return Reduction::mean;
  if (name == "sum") return Reduction::sum;
  if (name == "none") return Reduction::none;
  throw ValueError(cat(op, ": reduction must be 'mean', 'sum' or 'none', got '", name, "'"));
}

Array reduced_loss(const char* op, const Array& losses, Reduction reduction, const LossDivisor& divisor, DType dtype) {
  if (reduction == Reduction::none) return cast(losses, dtype);
  const Array sum = sum_forward(losses.reshape({losses.size()}), std::nullopt, false), out = sum.like({}, dtype);
  run(op, &LossTable::divide, out,
      DivideLoss{sum.raw(), static_cast<const int64_t*>(divisor.counted.raw()), divisor.count, out.raw()});
  return out;
}

}  // namespace pyformer
