#include "pyformer/ops/rms_norm/rms_norm.h"

#include <cmath>

#include "pyformer/base/dispatch.h"
#include "pyformer/base/thread_pool.h"
#include "pyformer/core/partials.h"
#include "pyformer/ops/rms_norm/rms_norm_kernels.h"

namespace pyformer {

static const KernelSets<RmsNormKernels>& sets() {
  static const auto sets = kernel_sets<RmsNormKernels>([]<Isa isa>() { return &rms_norm_kernels<isa>(); });
  return sets;
}

static void check_weight(const Array& weight, const Array& x) {
  if (!weight.defined()) return;
  if (weight.ndim() != 1 || weight.dim(0) != x.shape().back())
    throw ValueError(cat("rms_norm: weight must be (C,) = (", x.shape().back(), ",), got ", weight.shape().str()));
  if (weight.dtype() != x.dtype())
    throw TypeError(cat("rms_norm: weight must be ", name(x.dtype()), " as x is, got ", name(weight.dtype())));
}

RmsNormResult rms_norm_forward(const Array& x, const Array& weight, double eps) {
  const auto kernel = find_kernel("rms_norm", sets(), &RmsNormKernels::forward, x.dtype());
  if (x.ndim() == 0 || x.shape().back() == 0)
    throw ValueError(cat("rms_norm: x must be (..., C) with C >= 1, got ", x.shape().str()));
  if (!(eps >= 0 && std::isfinite(eps))) throw ValueError(cat("rms_norm: eps must be >= 0 and finite, got ", eps));
  check_weight(weight, x);
  const int64_t rows = rows_of(x), cols = x.shape().back();
  RmsNormResult r = {Array::empty(x.shape(), x.dtype()), Array::empty({rows}, x.dtype())};
  const RmsNormForward args = {
      cols, eps, x.raw(), weight.raw(), r.out.raw(), r.out.bytes() >= kNontemporalToProducts, r.rstd.raw()};
  parallel_for(rows, grain_of_rows(cols), [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
  return r;
}

RmsNormGradient rms_norm_backward(const Array& dout, const Array& x, const Array& weight, const Array& rstd,
                                  bool need_dx, bool need_dweight) {
  const auto kernel = find_kernel("rms_norm", sets(), &RmsNormKernels::backward, x.dtype());
  const int64_t rows = rows_of(x), cols = x.shape().back();
  const int64_t chunks = (rows + RmsNormBackward::kRowChunk - 1) / RmsNormBackward::kRowChunk;
  const Array dx = need_dx ? Array::empty(x.shape(), x.dtype()) : Array();
  const Array dweight = need_dweight ? Array::empty({chunks, cols}, x.dtype()) : Array();
  const RmsNormBackward args = {rows,         cols,       dout.raw(), x.raw(),
                                weight.raw(), rstd.raw(), dx.raw(),   dx.bytes() >= kNontemporalToProducts,
                                dweight.raw()};
  parallel_for(chunks, 1, [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
  return {dx, need_dweight ? sum_partials(dweight) : Array()};
}

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  RmsNormResult r = rms_norm_forward(x.array(), weight.array(), eps);
  return record("rms_norm", {x, weight}, r.out,
                [x = save(x), weight = save(weight), rstd = r.rstd](const Array& dout, const Needs& need) -> Gradients {
                  RmsNormGradient g = rms_norm_backward(dout, x(), weight(), rstd, need[0], need[1]);
                  return {g.dx, g.dweight};
                });
}

}  // namespace pyformer
