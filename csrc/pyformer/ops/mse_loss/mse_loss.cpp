#include "pyformer/ops/mse_loss/mse_loss.h"

#include "pyformer/core/precision.h"
#include "pyformer/ops/cast/cast.h"
#include "pyformer/ops/elementwise/elementwise.h"
#include "pyformer/ops/reduce/reduce.h"

namespace pyformer {

Tensor mse_loss(const Tensor& x, const Tensor& target, Reduction reduction) {
  if (has_narrow({x, target})) return mse_loss(widened(x), widened(target), reduction);
  if (!is_float(x.dtype())) throw TypeError(cat("mse_loss: x must be of a float dtype, got ", name(x.dtype())));
  check_alike("mse_loss", "target", target.array(), "x", x.array());
  if (!(target.shape() == x.shape()))
    throw ValueError(cat("mse_loss: target must be as x, ", x.shape().str(), ", got ", target.shape().str()));
  const DType sums = accumulator(x.dtype());
  const Tensor squares = square(subtract(cast(x, sums), cast(target, sums)));
  const bool is_mean = reduction == Reduction::mean && x.array().size() > 0;  // the mean of nothing is 0
  const Tensor loss = reduction == Reduction::none ? squares
                      : is_mean                    ? mean(squares, std::nullopt, false)
                                                   : sum(squares, std::nullopt, false);
  return cast(loss, x.dtype());
}

}  // namespace pyformer
