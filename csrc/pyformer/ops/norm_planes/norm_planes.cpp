#include "pyformer/ops/norm_planes/norm_planes.h"

#include <cmath>

#include "pyformer/base/norm_row.h"
#include "pyformer/base/run.h"
#include "pyformer/ops/norm_planes/norm_planes_kernels.h"

namespace pyformer {

void check_channels(const char* op, const char* which, const Array& values, const Array& x) {
  if (values.defined() && !(values.shape() == Shape{x.dim(1)}))
    throw ValueError(cat(op, ": ", which, " must be (C,) = (", x.dim(1), ",), got ", values.shape().str()));
}

void check_norm(const char* op, const Array& x, const Array& weight, const Array& bias, double eps) {
  if (x.ndim() < 2) throw ValueError(cat(op, ": x must be (N, C, ...), got ", x.shape().str()));
  if (!(eps >= 0 && std::isfinite(eps))) throw ValueError(cat(op, ": eps must be >= 0 and finite, got ", eps));
  check_channels(op, "weight", weight, x);
  check_channels(op, "bias", bias, x);
  check_alike(op, "weight", weight, "x", x);
  check_alike(op, "bias", bias, "x", x);
}

NormStatistics norm_statistics(const char* op, const NormSets& n, const Array& x, double eps) {
  const DType dtype = accumulator(x.dtype());
  const NormStatistics r = {x.like({n.sets, kNormRowNumbers}, dtype), x.like({n.sets}, dtype), x.like({n.sets}, dtype)};
  run(op, &NormPlanesTable::statistics, x,
      NormStatisticsForward{n, eps, x.raw(), r.rows.raw(), r.mean.raw(), r.var.raw()});
  return r;
}

Array given_statistics(const char* op, const Array& mean, const Array& var, double eps) {
  const Array rows = var.like({var.size(), kNormRowNumbers});
  run(op, &NormPlanesTable::given, var, NormGiven{var.size(), eps, mean.raw(), var.raw(), rows.raw()});
  return rows;
}

void update_running(const char* op, const Array& running, const Array& fresh, int64_t count, double momentum) {
  run(op, &NormPlanesTable::running, running, NormRunning{running.size(), count, momentum, fresh.raw(), running.raw()});
  running.storage().written();
}

Array norm_apply(const char* op, const NormSets& n, const Array& x, const Array& statistics, const Array& weight,
                 const Array& bias) {
  const Array out = x.like(x.shape());
  run(op, &NormPlanesTable::apply, x, NormApply{n, x.raw(), statistics.raw(), weight.raw(), bias.raw(), out.raw()});
  return out;
}

PlanesGradient norm_gradient(const char* op, const NormSets& n, const Array& dout, const Array& x,
                             const Array& statistics, const Array& weight, bool constant, bool need_dx) {
  const DType dtype = accumulator(x.dtype());
  const PlanesGradient r = {need_dx ? x.like(x.shape()) : Array(), x.like({n.sets, n.planes}, dtype),
                            x.like({n.sets, n.planes}, dtype)};
  run(op, &NormPlanesTable::backward, x,
      NormBackward{n, dout.raw(), x.raw(), statistics.raw(), weight.raw(), constant, r.sum.raw(), r.sum_product.raw(),
                   r.dx.raw()});
  return r;
}

}  // namespace pyformer
