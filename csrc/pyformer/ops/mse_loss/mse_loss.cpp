#include "pyformer/ops/mse_loss/mse_loss.h"

#include "pyformer/base/dispatch.h"
#include "pyformer/ops/elementwise/elementwise.h"
#include "pyformer/ops/reduce/reduce.h"

namespace pyformer {

Tensor mse_loss(const Tensor& x, const Tensor& target, Reduction reduction) {
  float_index("mse_loss", x.dtype());
  if (target.dtype() != x.dtype())
    throw TypeError(cat("mse_loss: target must be ", name(x.dtype()), " as x is, got ", name(target.dtype())));
  if (!(target.shape() == x.shape()))
    throw ValueError(cat("mse_loss: target must be as x, ", x.shape().str(), ", got ", target.shape().str()));
  const Tensor squares = square(subtract(x, target));
  if (reduction == Reduction::none) return squares;
  return reduction == Reduction::mean ? mean(squares, std::nullopt, false) : sum(squares, std::nullopt, false);
}

}  // namespace pyformer
