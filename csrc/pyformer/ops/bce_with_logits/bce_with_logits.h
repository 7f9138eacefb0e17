// bce_with_logits: the mean, sum or list of the cross entropy of a yes-or-no answer whose probability is sigmoid(x).
//
//   loss = -target log(sigmoid(x)) - (1 - target) log(1 - sigmoid(x)) = |x| (x > 0 ? 1 - target : target) + log(1 +
//   e^-|x|)
//
// The first term is 0 where its second factor is, also where x is infinite: an answer that is sure and right costs 0.
// x and target of one shape and float dtype. dx = sigmoid(x) - target, dtarget = -x. Saved for backward:
// x, target. Order of sums: the row-reduction rule over all elements; the mean divides the sum once.
#pragma once
#include "pyformer/ops/loss/loss.h"

namespace pyformer {

Array bce_with_logits_forward(const Array& x, const Array& target, Reduction reduction);

struct BceWithLogitsGradient {
  Array dx, dtarget;  // undefined where not wanted
};
BceWithLogitsGradient bce_with_logits_backward(const Array& dout, const Array& x, const Array& target,
                                               Reduction reduction, bool need_dx, bool need_dtarget);

Tensor bce_with_logits(const Tensor& x, const Tensor& target, Reduction reduction);

}  // namespace pyformer
