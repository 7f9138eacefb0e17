#include "pyformer/ops/batch_norm/batch_norm.h"

#include <cmath>

#include "pyformer/core/partials.h"
#include "pyformer/ops/group_norm/norm_planes.h"
#include "pyformer/ops/shape/shape.h"

namespace pyformer {

static NormSets sets_of(const Array& x) {
  const int64_t C = x.dim(1), size = x.shape().inner(1);
  return {"batch_norm", C, x.dim(0), size, size, C * size, C, 1, false};
}

template <class T>
static void update(const Array& running, const Array& fresh, double factor, double momentum) {
  T* value = running.data<T>();
  const T* now = fresh.data<T>();
  for (int64_t c = 0; c < running.size(); ++c)
    value[c] = T(1 - momentum) * value[c] + T(momentum) * (now[c] * T(factor));
}

static void update_running(const Array& running, const Array& fresh, double factor, double momentum) {
  if (!running.defined()) return;
  if (running.dtype() == DType::float64)
    update<double>(running, fresh, factor, momentum);
  else
    update<float>(running, fresh, factor, momentum);
  running.storage().written();
}

static void check(const Array& x, const Array& running_mean, const Array& running_var, const Array& weight,
                  const Array& bias, const BatchNormOptions& o) {
  check_norm("batch_norm", x, weight, bias, o.eps);
  check_channels("batch_norm", "running_mean", running_mean, x);
  check_channels("batch_norm", "running_var", running_var, x);
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
  // The saved mean is a copy: the running one is written to later.
  const NormStatistics s = options.training ? norm_statistics(n, x) : NormStatistics{running_mean.copy(), running_var};
  const Array rstd = reciprocal_deviation(s.var, options.eps);
  const Array out = norm_apply(n, x, s.mean, rstd, weight, bias);
  if (options.training) {
    const double count = double(n.count());
    update_running(running_mean, s.mean, 1.0, options.momentum);
    update_running(running_var, s.var, count / (count - 1), options.momentum);
  }
  return {out, s.mean, rstd};
}

// With xhat = (x - mean) * rstd, g = dout * weight and means over a channel
//   (1) dx = rstd * (g - mean(g) - xhat * mean(g * xhat)) in training, else rstd * g
//   (2) dweight = sum dout * xhat   (3) dbias = sum dout
BatchNormGradient batch_norm_backward(const Array& dout, const Array& x, const Array& weight, const Array& mean,
                                      const Array& rstd, bool training, bool need_dx, bool need_dweight,
                                      bool need_dbias) {
  const NormGradient g = norm_gradient(sets_of(x), dout, x, mean, rstd, weight, !training, need_dx);
  const auto over_images = [](const Array& sums) { return sum_partials(transpose_forward(sums, {1, 0})); };
  return {g.dx, need_dweight ? over_images(g.sum_product) : Array(), need_dbias ? over_images(g.sum) : Array()};
}

Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var, const Tensor& weight,
                  const Tensor& bias, const BatchNormOptions& options) {
  for (const Tensor* running : {&running_mean, &running_var})
    if (running->defined() && running->requires_grad())
      throw ValueError("batch_norm: running statistics must not require a gradient: they get none");
  BatchNormResult r =
      batch_norm_forward(x.array(), running_mean.array(), running_var.array(), weight.array(), bias.array(), options);
  return record("batch_norm", {x, weight, bias}, r.out,
                [x = save(x), weight = save(weight), mean = r.mean, rstd = r.rstd, training = options.training](
                    const Array& dout, const Needs& need) -> Gradients {
                  BatchNormGradient g =
                      batch_norm_backward(dout, x(), weight(), mean, rstd, training, need[0], need[1], need[2]);
                  return {g.dx, g.dweight, g.dbias};
                });
}

}  // namespace pyformer
