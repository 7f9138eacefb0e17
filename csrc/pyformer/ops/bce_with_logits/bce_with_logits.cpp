#include "pyformer/ops/bce_with_logits/bce_with_logits.h"

#include <algorithm>

#include "pyformer/base/run.h"
#include "pyformer/core/precision.h"
#include "pyformer/ops/bce_with_logits/bce_with_logits_kernels.h"

namespace pyformer {

// The mean of nothing is 0.
static int64_t divisor_of(const Array& x, Reduction reduction) {
  return reduction == Reduction::mean ? std::max<int64_t>(1, x.size()) : 1;
}

Array bce_with_logits_forward(const Array& x, const Array& target, Reduction reduction) {
  check_alike("bce_with_logits", "target", target, "x", x);
  if (!(target.shape() == x.shape()))
    throw ValueError(cat("bce_with_logits: target must be as x, ", x.shape().str(), ", got ", target.shape().str()));
  const Array losses = x.like(x.shape(), accumulator(x.dtype()));
  run("bce_with_logits", &BceTable::forward, x, BceForward{x.size(), x.raw(), target.raw(), losses.raw()});
  return reduced_loss("bce_with_logits", losses, reduction, {{}, divisor_of(x, reduction)}, x.dtype());
}

BceWithLogitsGradient bce_with_logits_backward(const Array& dout, const Array& x, const Array& target,
                                               Reduction reduction, bool need_dx, bool need_dtarget) {
  const BceWithLogitsGradient r = {need_dx ? x.like(x.shape()) : Array(), need_dtarget ? x.like(x.shape()) : Array()};
  run("bce_with_logits", &BceTable::backward, x,
      BceBackward{x.size(), x.raw(), target.raw(), dout.raw(), reduction == Reduction::none,
                  double(divisor_of(x, reduction)), r.dx.raw(), r.dtarget.raw()});
  return r;
}

Tensor bce_with_logits(const Tensor& x, const Tensor& target, Reduction reduction) {
  if (has_narrow({x, target})) return bce_with_logits(widened(x), widened(target), reduction);
  return record("bce_with_logits", {x, target}, bce_with_logits_forward(x.array(), target.array(), reduction),
                [x = save(x), target = save(target), reduction](const Array& dout, const Needs& need) -> Gradients {
                  BceWithLogitsGradient g = bce_with_logits_backward(dout, x(), target(), reduction, need[0], need[1]);
                  return {g.dx, g.dtarget};
                });
}

}  // namespace pyformer
