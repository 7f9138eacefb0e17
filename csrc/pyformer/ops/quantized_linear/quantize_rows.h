// Activations to 8 or 16 bits, plain loops that compilers vectorise: the same operations on every instruction set.
#pragma once
#include "pyformer/base/element.h"
#include "pyformer/ops/quantized_linear/quantized_linear_kernels.h"

namespace pyformer::PF_ISA {

// The largest magnitude of a group, as bits: these compare as the magnitudes do, and NaN is above infinity.
static inline uint32_t largest_bits(const float* x, int64_t count) {
  uint32_t most = 0;
  for (int64_t j = 0; j < count; ++j) {
    const uint32_t bits = to_bits(x[j]) & 0x7fffffffu;
    most = bits > most ? bits : most;
  }
  return from_bits(most) < 0x1p-100f ? 0 : most;
}

// A group of `count` numbers, and zeros after them, whose largest magnitude is amax; returns its scale.
static inline float quantize_group(const float* x, int64_t count, float amax, bool is_wide, int8_t* q, int8_t* fine) {
  const bool is_finite = to_bits(amax) < 0x7f800000u;
  if (!is_finite || amax == 0) count = 0;
  const float steps = is_wide ? float(kQuantXMost * kQuantFine) : float(kQuantXMost), factor = steps / amax;
  if (is_wide)
    for (int64_t j = 0; j < count; ++j) {
      const float number = round_to_int(x[j] * factor), coarse = round_to_int(number * (1.0f / kQuantFine));
      q[j] = int8_t(int32_t(coarse));
      fine[j] = int8_t(int32_t(number - coarse * kQuantFine));
    }
  else
    for (int64_t j = 0; j < count; ++j) q[j] = int8_t(int32_t(round_to_int(x[j] * factor)));
  for (int64_t j = count; j < kQuantXGroup; ++j) q[j] = fine[j] = 0;
  return is_finite ? amax / steps : from_bits(0x7fc00000u);
}

static void quantize_rows(const QuantizeRows& g, int64_t begin, int64_t end) {
  const int64_t k = g.w.k, width = g.w.width(), length = g.w.row().run(), groups = width / kQuantXGroup;
  for (int64_t row = begin; row < end; ++row) {
    const float* x = g.x + row * k;
    int8_t* q = g.q + row * width;
    int8_t* fine = q + g.rows * width;
    float* scales = g.scales + row * groups;
    uint8_t* wide = g.wide + row * groups;
    const auto count_at = [&](int64_t group) {
      const int64_t left = k - group * kQuantXGroup;
      return left < 0 ? 0 : left < kQuantXGroup ? left : kQuantXGroup;
    };
    float sum = 0;
    for (int64_t i = 0; i < groups; ++i) {
      scales[i] = from_bits(largest_bits(x + i * kQuantXGroup, count_at(i)));
      sum += scales[i];
    }
    const float bound = kQuantWideFrom * (sum / float((k + kQuantXGroup - 1) / kQuantXGroup));
    for (int64_t i = 0; i < groups; ++i) {
      const int64_t at = i * kQuantXGroup;
      wide[i] = scales[i] > bound;
      scales[i] = quantize_group(x + at, count_at(i), scales[i], wide[i], q + at, fine + at);
    }
    for (int64_t run = 0; run < g.w.runs(); ++run) {
      int32_t coarse_sum = 0, fine_sum = 0;
      for (int64_t j = run * length; j < (run + 1) * length; ++j) coarse_sum += q[j];
      const bool is_wide = wide[run * length / kQuantXGroup];
      for (int64_t j = run * length; is_wide && j < (run + 1) * length; ++j) fine_sum += fine[j];
      g.sums[row * g.w.runs() + run] = is_wide ? kQuantFine * coarse_sum + fine_sum : coarse_sum;
    }
  }
}

}  // namespace pyformer::PF_ISA
