// The norm at the start of a fused op: layer_norm, rms_norm or none, as norm_linear and mlp take it.
#pragma once
#include <string>

#include "pyformer/core/array.h"

namespace pyformer {

enum class NormKind : int { none, layer, rms };
NormKind norm_kind_from_name(const std::string& name);  // ValueError unless none, layer or rms

struct Norm {
  NormKind kind = NormKind::none;
  double eps = 1e-5;
};

// The statistics come along for the gradient; with NormKind::none out is x.
struct NormResult {
  Array out, statistics;
};
NormResult norm_forward(const Norm& norm, const Array& x, const Array& weight, const Array& bias);

struct NormGradient {
  Array dx, dweight, dbias;  // undefined where not wanted
};
NormGradient norm_backward(const Norm& norm, const Array& dout, const Array& x, const Array& weight,
                           const NormResult& forward, bool need_dx, bool need_dweight, bool need_dbias);

}  // namespace pyformer
