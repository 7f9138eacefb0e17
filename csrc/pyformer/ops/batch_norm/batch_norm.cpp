#include "pyformer/ops/batch_norm/batch_norm.h"

#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/core/precision.h"
#include "pyformer/core/random.h"
#include "pyformer/ops/norm_planes/norm_planes.h"
#include "pyformer/ops/reduce/reduce.h"

namespace pyformer {

static NormSets sets_of(const Array& x) {
  const int64_t C = x.dim(1), size = x.shape().inner(1);
  return {C, x.dim(0), size, size, C * size, C, 1, false};
}

static void check_running(const char* which, const Array& running, const Array& x) {
  if (!running.defined()) return;
  check_channels("batch_norm", which, running, x);
  check_device("batch_norm", which, running, "x", x);
  if (precision() && accumulator(running.dtype()) == x.dtype()) return;
  if (running.dtype() != accumulator(x.dtype())) check_alike("batch_norm", which, running, "x", x);
}

static void check(const Array& x, const Array& running_mean, const Array& running_var, const Array& weight,
                  const Array& bias, const BatchNormOptions& o) {
  check_norm("batch_norm", x, weight, bias, o.eps);
  check_running("running_mean", running_mean, x);
  check_running("running_var", running_var, x);
  if (running_mean.defined() != running_var.defined())
    throw ValueError("batch_norm: expected both running_mean and running_var, or neither, got one");
  if (!o.training && !running_mean.defined())
    throw ValueError("batch_norm: without training, running_mean and running_var must be given");
  if (!(o.momentum >= 0 && o.momentum <= 1))
    throw ValueError(cat("batch_norm: momentum must be from 0 to 1, got ", o.momentum));
  if (o.training && x.dim(0) * x.shape().inner(1) < 2)
    throw ValueError(cat("batch_norm: training needs at least 2 values a channel, got x ", x.shape().str()));
}

BatchNormResult batch_norm_forward(const Array& x, const Array& running_mean, const Array& running_var,
                                   const Array& weight, const Array& bias, const BatchNormOptions& options) {
  check(x, running_mean, running_var, weight, bias, options);
  const NormSets n = sets_of(x);
  if (!options.training) {
    const DType dtype = accumulator(x.dtype());
    const Array rows = given_statistics("batch_norm", cast(running_mean, dtype), cast(running_var, dtype), options.eps);
    return {norm_apply("batch_norm", n, x, rows, weight, bias), rows};
  }
  const NormStatistics s = norm_statistics("batch_norm", n, x, options.eps);
  const Array out = norm_apply("batch_norm", n, x, s.rows, weight, bias);
  // What is computed again for its gradient has moved them already.
  if (running_mean.defined() && !StreamScope::is_replaying()) {
    update_running("batch_norm", running_mean, s.mean, 0, options.momentum);
    update_running("batch_norm", running_var, s.var, n.count(), options.momentum);
  }
  return {out, s.rows};
}

// With xhat = (x - mean) * rstd, g = dout * weight and means over a channel
//   (1) dx = rstd * (g - mean(g) - xhat * mean(g * xhat)) in training, else rstd * g
//   (2) dweight = sum dout * xhat   (3) dbias = sum dout
BatchNormGradient batch_norm_backward(const Array& dout, const Array& x, const Array& weight, const Array& statistics,
                                      bool training, bool need_dx, bool need_dweight, bool need_dbias) {
  const PlanesGradient g = norm_gradient("batch_norm", sets_of(x), dout, x, statistics, weight, !training, need_dx);
  const auto over_images = [](const Array& sums) { return sum_wide(sums, Axes(std::vector<int64_t>{1}), false); };
  return {g.dx, need_dweight ? over_images(g.sum_product) : Array(), need_dbias ? over_images(g.sum) : Array()};
}

Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var, const Tensor& weight,
                  const Tensor& bias, const BatchNormOptions& options) {
  for (const Tensor* running : {&running_mean, &running_var})
    if (running->defined() && running->requires_grad())
      throw ValueError("batch_norm: running statistics must not require a gradient: they get none");
  if (has_narrow({x, weight, bias}))
    return batch_norm(widened(x), running_mean, running_var, widened(weight), widened(bias), options);
  BatchNormResult r =
      batch_norm_forward(x.array(), running_mean.array(), running_var.array(), weight.array(), bias.array(), options);
  return record("batch_norm", {x, weight, bias}, r.out,
                [x = save(x), weight = save(weight), statistics = r.statistics, training = options.training](
                    const Array& dout, const Needs& need) -> Gradients {
                  BatchNormGradient g =
                      batch_norm_backward(dout, x(), weight(), statistics, training, need[0], need[1], need[2]);
                  return {g.dx, g.dweight, g.dbias};
                });
}

}  // namespace pyformer
