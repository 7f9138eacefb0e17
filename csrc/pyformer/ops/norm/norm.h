// layer_norm and rms_norm on Arrays: what both are made of, and what stands at the start of a fused op.
//
// Saved for backward: x, weight, four numbers a row (NormRow). Order of sums: the row-reduction rule over C; dweight
// and dbias are chains over 32 consecutive rows, whose partials are added in index order.
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

// x (..., C); weight and bias (C,) or absent, rms takes no bias. The statistics, (rows, 4), come along for the
// gradient; with NormKind::none out is x.
struct NormResult {
  Array out, statistics;
};
NormResult norm_forward(const Norm& norm, const Array& x, const Array& weight, const Array& bias);

struct NormGradient {
  Array dx, dweight, dbias;  // undefined where not wanted
};
NormGradient norm_backward(const Norm& norm, const Array& dout, const Array& x, const Array& weight,
                           const Array& statistics, bool need_dx, bool need_dweight, bool need_dbias);

}  // namespace pyformer
