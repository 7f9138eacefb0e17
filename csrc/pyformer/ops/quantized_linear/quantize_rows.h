// Activations to 8 bits, plain loops that compilers vectorise: the same operations on every instruction set.
#pragma once
#include "pyformer/base/element.h"
#include "pyformer/ops/quantized_linear/quantized_linear_kernels.h"

namespace pyformer::PF_ISA {

// The factor by which a group is multiplied before it is rounded; its scale goes to *scale.
static inline float activation_factor(const float* x, int64_t count, float* scale) {
  uint32_t most = 0;  // magnitudes compare as their bits do, and NaN is above infinity
  for (int64_t j = 0; j < count; ++j) {
    const uint32_t bits = to_bits(x[j]) & 0x7fffffffu;
    most = bits > most ? bits : most;
  }
  const float amax = from_bits(most);
  if (most >= 0x7f800000u) {
    *scale = from_bits(0x7fc00000u);
    return 0;
  }
  if (amax < 0x1p-100f) {
    *scale = 0;
    return 0;
  }
  *scale = amax / 127.0f;
  return 127.0f / amax;
}

// `count` numbers, and zeros after them.
static inline void quantize_group(const float* x, int64_t count, int8_t* q, float* scale) {
  const float factor = activation_factor(x, count, scale);
  if (factor == 0) count = 0;
  for (int64_t j = 0; j < count; ++j) q[j] = int8_t(int32_t(round_to_int(x[j] * factor)));
  for (int64_t j = count; j < kQuantXGroup; ++j) q[j] = 0;
}

static void quantize_rows(const QuantizeRows& g, int64_t begin, int64_t end) {
  const int64_t k = g.w.k, width = g.w.width(), length = g.w.row().run();
  for (int64_t row = begin; row < end; ++row) {
    int8_t* q = g.q + row * width;
    for (int64_t start = 0; start < width; start += kQuantXGroup) {
      const int64_t left = k - start < kQuantXGroup ? k - start : kQuantXGroup;
      quantize_group(g.x + row * k + start, left < 0 ? 0 : left, q + start,
                     g.scales + (row * width + start) / kQuantXGroup);
    }
    for (int64_t run = 0; run < g.w.runs(); ++run) {
      int32_t sum = 0;
      for (int64_t j = run * length; j < (run + 1) * length; ++j) sum += q[j];
      g.sums[row * g.w.runs() + run] = sum;
    }
  }
}

}  // namespace pyformer::PF_ISA
