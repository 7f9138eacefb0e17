// Normalisation over sets of planes that share a mean and a variance: what group_norm and batch_norm have in common.
// Statistics and sums are held in the accumulator of x's dtype.
#pragma once
#include "pyformer/core/tensor.h"
#include "pyformer/ops/norm_planes/norm_sets.h"

namespace pyformer {

// ValueError or TypeError unless eps, weight and bias fit x with C channels.
void check_norm(const char* op, const Array& x, const Array& weight, const Array& bias, double eps);
// ValueError unless values, if there are any, are (C,).
void check_channels(const char* op, const char* which, const Array& values, const Array& x);

struct NormStatistics {
  Array rows;       // (sets, 4): a NormRow each
  Array mean, var;  // (sets,); var divides by the count
};
NormStatistics norm_statistics(const char* op, const NormSets& n, const Array& x, double eps);
// The rows of means and variances that are given.
Array given_statistics(const char* op, const Array& mean, const Array& var, double eps);
// running = (1 - momentum) * running + momentum * fresh * count / (count - 1), in place; count 0: fresh as it is.
void update_running(const char* op, const Array& running, const Array& fresh, int64_t count, double momentum);

Array norm_apply(const char* op, const NormSets& n, const Array& x, const Array& statistics, const Array& weight,
                 const Array& bias);

struct PlanesGradient {
  Array dx;                // undefined where not wanted
  Array sum, sum_product;  // (sets, planes): sums over planes of dout and of dout * xhat
};
// constant: the statistics do not depend on x.
PlanesGradient norm_gradient(const char* op, const NormSets& n, const Array& dout, const Array& x,
                             const Array& statistics, const Array& weight, bool constant, bool need_dx);

}  // namespace pyformer
