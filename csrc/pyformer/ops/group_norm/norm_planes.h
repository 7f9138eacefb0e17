// Normalisation over sets of planes that share a mean and a variance: what group_norm and batch_norm have in common.
#pragma once
#include "pyformer/core/tensor.h"

namespace pyformer {

// Set s holds planes s * set_stride + p * plane_stride, p < planes, of `size` elements. Its parameters stand from
// (s % parameter_sets) * parameter_step on: one for all planes, or one each.
struct NormSets {
  const char* op;
  int64_t sets, planes, size, set_stride, plane_stride;
  int64_t parameter_sets, parameter_step;
  bool parameter_each;

  int64_t count() const { return planes * size; }
};

// ValueError or TypeError unless eps, weight and bias fit x with C channels.
void check_norm(const char* op, const Array& x, const Array& weight, const Array& bias, double eps);
// weight, bias, running statistics: (C,) of x's dtype, or undefined.
void check_channels(const char* op, const char* which, const Array& parameter, const Array& x);

struct NormStatistics {
  Array mean, var;  // (sets,); var divides by the count
};
NormStatistics norm_statistics(const NormSets& n, const Array& x);
Array reciprocal_deviation(const Array& var, double eps);  // 1 / sqrt(var + eps)
Array norm_apply(const NormSets& n, const Array& x, const Array& mean, const Array& rstd, const Array& weight,
                 const Array& bias);

struct NormGradient {
  Array dx;                // undefined where not wanted
  Array sum, sum_product;  // (sets, planes): sums over planes of dout and of dout * xhat
};
// constant: mean and rstd do not depend on x.
NormGradient norm_gradient(const NormSets& n, const Array& dout, const Array& x, const Array& mean, const Array& rstd,
                           const Array& weight, bool constant, bool need_dx);

}  // namespace pyformer
