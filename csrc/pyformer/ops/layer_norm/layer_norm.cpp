#include "pyformer/ops/layer_norm/layer_norm.h"

#include <cmath>

#include "pyformer/base/dispatch.h"
#include "pyformer/base/thread_pool.h"
#include "pyformer/core/partials.h"
#include "pyformer/ops/layer_norm/layer_norm_kernels.h"

namespace pyformer {

static const KernelSets<LayerNormKernels>& sets() {
  static const auto sets = kernel_sets<LayerNormKernels>([]<Isa isa>() { return &layer_norm_kernels<isa>(); });
  return sets;
}

static void check_parameter(const char* which, const Array& parameter, const Array& x) {
  if (!parameter.defined()) return;
  if (parameter.ndim() != 1 || parameter.dim(0) != x.shape().back())
    throw ValueError(
        cat("layer_norm: ", which, " must be (C,) = (", x.shape().back(), ",), got ", parameter.shape().str()));
  if (parameter.dtype() != x.dtype())
    throw TypeError(
        cat("layer_norm: ", which, " must be ", name(x.dtype()), " as x is, got ", name(parameter.dtype())));
}

LayerNormResult layer_norm_forward(const Array& x, const Array& weight, const Array& bias, double eps) {
  const auto kernel = find_kernel("layer_norm", sets(), &LayerNormKernels::forward, x.dtype());
  if (x.ndim() == 0 || x.shape().back() == 0)
    throw ValueError(cat("layer_norm: x must be (..., C) with C >= 1, got ", x.shape().str()));
  if (!(eps >= 0 && std::isfinite(eps))) throw ValueError(cat("layer_norm: eps must be >= 0 and finite, got ", eps));
  check_parameter("weight", weight, x);
  check_parameter("bias", bias, x);
  const int64_t rows = rows_of(x), cols = x.shape().back();
  LayerNormResult r = {Array::empty(x.shape(), x.dtype()), Array::empty({rows}, x.dtype()),
                       Array::empty({rows}, x.dtype())};
  const LayerNormForward args = {
      cols,         eps,         x.raw(), weight.raw(), bias.raw(), r.out.raw(), r.out.bytes() >= kStreamedToProducts,
      r.mean.raw(), r.rstd.raw()};
  parallel_for(rows, grain_of_rows(cols), [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
  return r;
}

LayerNormGradient layer_norm_backward(const Array& dout, const Array& x, const Array& weight, const Array& mean,
                                      const Array& rstd, bool need_dx, bool need_dweight, bool need_dbias) {
  const auto kernel = find_kernel("layer_norm", sets(), &LayerNormKernels::backward, x.dtype());
  const int64_t rows = rows_of(x), cols = x.shape().back();
  const int64_t chunks = (rows + LayerNormBackward::kRowChunk - 1) / LayerNormBackward::kRowChunk;
  const auto partials = [&](bool wanted) { return wanted ? Array::empty({chunks, cols}, x.dtype()) : Array(); };
  Array dx = need_dx ? Array::empty(x.shape(), x.dtype()) : Array();
  Array dweight = partials(need_dweight), dbias = partials(need_dbias);
  const LayerNormBackward args = {rows,          cols,         dout.raw(),
                                  x.raw(),       weight.raw(), mean.raw(),
                                  rstd.raw(),    dx.raw(),     dx.bytes() >= kStreamedToProducts,
                                  dweight.raw(), dbias.raw()};
  parallel_for(chunks, 1, [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
  return {dx, need_dweight ? sum_partials(dweight) : Array(), need_dbias ? sum_partials(dbias) : Array()};
}

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
  LayerNormResult r = layer_norm_forward(x.array(), weight.array(), bias.array(), eps);
  return record("layer_norm", {x, weight, bias}, r.out,
                [x = save(x), weight = save(weight), mean = r.mean, rstd = r.rstd](const Array& dout,
                                                                                   const Needs& need) -> Gradients {
                  LayerNormGradient g = layer_norm_backward(dout, x(), weight(), mean, rstd, need[0], need[1], need[2]);
                  return {g.dx, g.dweight, g.dbias};
                });
}

}  // namespace pyformer
