#include "pyformer/ops/norm/norm.h"

#include <cmath>

#include "pyformer/base/norm_row.h"
#include "pyformer/base/run.h"
#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/ops/norm/norm_kernels.h"

namespace pyformer {

NormKind norm_kind_from_name(const std::string& wanted) {
  constexpr const char* names[] = {"none", "layer", "rms"};
  for (int i = 0; i < 3; ++i)
    if (wanted == names[i]) return NormKind(i);
  throw ValueError(cat("norm: expected none, layer or rms, got '", wanted, "'"));
}

static const char* op_of(NormKind kind) { return kind == NormKind::rms ? "rms_norm" : "layer_norm"; }

static void check_parameter(const char* op, const char* which, const Array& parameter, const Array& x) {
  if (!parameter.defined()) return;
  if (parameter.ndim() != 1 || parameter.dim(0) != x.shape().back())
    throw ValueError(cat(op, ": ", which, " must be (C,) = (", x.shape().back(), ",), got ", parameter.shape().str()));
  check_alike(op, which, parameter, "x", x);
}

static void check_row_norm(const char* op, const Array& x, const Array& weight, const Array& bias, double eps) {
  if (x.ndim() == 0 || x.shape().back() == 0)
    throw ValueError(cat(op, ": x must be (..., C) with C >= 1, got ", x.shape().str()));
  if (!(eps >= 0 && std::isfinite(eps))) throw ValueError(cat(op, ": eps must be >= 0 and finite, got ", eps));
  check_parameter(op, "weight", weight, x);
  check_parameter(op, "bias", bias, x);
}

NormResult norm_forward(const Norm& norm, const Array& x, const Array& weight, const Array& bias) {
  if (bias.defined() && norm.kind != NormKind::layer) throw ValueError("norm: only layer_norm takes a bias");
  if (weight.defined() && norm.kind == NormKind::none) throw ValueError("norm: a weight without a norm");
  if (norm.kind == NormKind::none) return {x, {}};
  const char* op = op_of(norm.kind);
  check_row_norm(op, x, weight, bias, norm.eps);
  const int64_t rows = rows_of(x), cols = x.shape().back();
  const NormResult r = {x.like(x.shape()), x.like({rows, kNormRowNumbers}, accumulator(x.dtype()))};
  run(op, norm.kind == NormKind::rms ? &RowNormTable::rms_forward : &RowNormTable::layer_forward, x,
      RowNormForward{rows, cols, norm.eps, x.raw(), weight.raw(), bias.raw(), r.out.raw(),
                     r.out.bytes() >= kNontemporalToProducts, r.statistics.raw()});
  return r;
}

NormGradient norm_backward(const Norm& norm, const Array& dout, const Array& x, const Array& weight,
                           const Array& statistics, bool need_dx, bool need_dweight, bool need_dbias) {
  if (!need_dx && !need_dweight && !need_dbias) return {};
  if (norm.kind == NormKind::none) return {dout, {}, {}};
  RowNormBackward args = {};
  args.rows = rows_of(x);
  args.cols = x.shape().back();
  const auto partials = [&](bool wanted) {
    return wanted ? x.like({args.items(), args.cols}, accumulator(x.dtype())) : Array();
  };
  const Array dx = need_dx ? x.like(x.shape()) : Array(), dweight = partials(need_dweight),
              dbias = partials(need_dbias);
  args.dout = dout.raw();
  args.x = x.raw();
  args.weight = weight.raw();
  args.statistics = statistics.raw();
  args.dx = dx.raw();
  args.nontemporal = dx.bytes() >= kNontemporalToProducts;
  args.dweight = dweight.raw();
  args.dbias = dbias.raw();
  run(op_of(norm.kind), norm.kind == NormKind::rms ? &RowNormTable::rms_backward : &RowNormTable::layer_backward, x,
      args);
  return {dx, need_dweight ? sum_partials(dweight) : Array(), need_dbias ? sum_partials(dbias) : Array()};
}

}  // namespace pyformer
