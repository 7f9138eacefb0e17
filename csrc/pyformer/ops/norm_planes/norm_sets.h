// Planes of consecutive elements, and which of them share a mean and a variance.
#pragma once
#include <cstdint>

namespace pyformer {

// Set s holds planes s * set_stride + p * plane_stride, p < planes, of `size` elements. Its parameters stand from
// (s % parameter_sets) * parameter_step on: one for all planes, or one each.
struct NormSets {
  int64_t sets, planes, size, set_stride, plane_stride;
  int64_t parameter_sets, parameter_step;
  bool parameter_each;

  constexpr int64_t count() const { return planes * size; }
};

}  // namespace pyformer
