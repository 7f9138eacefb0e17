#include "pyformer/ops/bce_with_logits/bce_with_logits.h"

#include "pyformer/base/dispatch.h"
#include "pyformer/base/thread_pool.h"
#include "pyformer/ops/bce_with_logits/bce_with_logits_kernels.h"
#include "pyformer/ops/elementwise/elementwise.h"
#include "pyformer/ops/reduce/reduce.h"

namespace pyformer {

constexpr int64_t kGrain = 1 << 13;

static const KernelSets<BceKernels>& sets() {
  static const auto sets = kernel_sets<BceKernels>([]<Isa isa>() { return &bce_kernels<isa>(); });
  return sets;
}

static double divisor_of(const Array& x, Reduction reduction) {
  return reduction == Reduction::mean ? double(x.size()) : 1.0;
}

static Array one_number(double value, DType dtype) {
  const Array out = Array::empty({}, dtype);
  if (dtype == DType::float64)
    *out.data<double>() = value;
  else
    *out.data<float>() = float(value);
  return out;
}

Array bce_with_logits_forward(const Array& x, const Array& target, Reduction reduction) {
  const auto kernel = find_kernel("bce_with_logits", sets(), &BceKernels::forward, x.dtype());
  if (target.dtype() != x.dtype())
    throw TypeError(cat("bce_with_logits: target must be ", name(x.dtype()), " as x is, got ", name(target.dtype())));
  if (!(target.shape() == x.shape()))
    throw ValueError(cat("bce_with_logits: target must be as x, ", x.shape().str(), ", got ", target.shape().str()));
  const Array loss = Array::empty(x.shape(), x.dtype());
  const BceForward args = {x.raw(), target.raw(), loss.raw()};
  parallel_for(x.size(), kGrain, [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
  if (reduction == Reduction::none) return loss;
  const Array total = sum_forward(loss.reshape({x.size()}), std::nullopt, false);
  return reduction == Reduction::sum ? total : divide_forward(total, one_number(divisor_of(x, reduction), x.dtype()));
}

BceWithLogitsGradient bce_with_logits_backward(const Array& dout, const Array& x, const Array& target,
                                               Reduction reduction, bool need_dx, bool need_dtarget) {
  const auto kernel = find_kernel("bce_with_logits", sets(), &BceKernels::backward, x.dtype());
  const BceWithLogitsGradient r = {need_dx ? Array::empty(x.shape(), x.dtype()) : Array(),
                                   need_dtarget ? Array::empty(x.shape(), x.dtype()) : Array()};
  const BceBackward args = {
      x.raw(),    target.raw(),   dout.raw(), reduction == Reduction::none, divisor_of(x, reduction),
      r.dx.raw(), r.dtarget.raw()};
  parallel_for(x.size(), kGrain, [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
  return r;
}

Tensor bce_with_logits(const Tensor& x, const Tensor& target, Reduction reduction) {
  return record("bce_with_logits", {x, target}, bce_with_logits_forward(x.array(), target.array(), reduction),
                [x = save(x), target = save(target), reduction](const Array& dout, const Needs& need) -> Gradients {
                  BceWithLogitsGradient g = bce_with_logits_backward(dout, x(), target(), reduction, need[0], need[1]);
                  return {g.dx, g.dtarget};
                });
}

}  // namespace pyformer
