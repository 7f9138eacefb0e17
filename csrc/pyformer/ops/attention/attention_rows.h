// Which keys a row of attention attends to, for attention_ref.cpp and attention_cpu.cpp.
#pragma once
#include "pyformer/base/element.h"
#include "pyformer/ops/attention/attention_kernels.h"

namespace pyformer::PF_ISA {

template <class T>
constexpr T kInfinity = T(__builtin_inf());

struct KeyRange {
  int64_t begin, end;
};

PF_INLINE int64_t clamp(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }

constexpr int64_t kFar = int64_t(1) << 60;
PF_INLINE int64_t key_length(const AttentionInput& in, int64_t b) {
  return in.key_lengths ? in.key_lengths[b] : in.keys;
}
// Where query 0 of batch row b stands.
PF_INLINE int64_t first_position(const AttentionInput& in, int64_t b) {
  return in.query_offset ? clamp(in.query_offset[b], -kFar, kFar) : key_length(in, b) - in.queries;
}

// Query i of batch row b stands at p = query_offset + i. Causal: j <= p. Window: p - window < j <= p.
PF_INLINE KeyRange key_range(const AttentionInput& in, int64_t b, int64_t i) {
  const int64_t length = key_length(in, b), p = first_position(in, b) + i;
  KeyRange range = {0, length};
  if (in.causal || in.window > 0) range.end = clamp(p + 1, 0, length);
  if (in.window > 0) range.begin = clamp(p - (in.window < kFar ? in.window : kFar) + 1, 0, range.end);
  return range;
}

// Bit j set: the row attends to key block * 64 + j, as far as its range tells.
PF_INLINE uint64_t range_bits(KeyRange range, int64_t block) {
  const int64_t begin = clamp(range.begin - block * kAttentionBlock, 0, kAttentionBlock);
  const int64_t end = clamp(range.end - block * kAttentionBlock, 0, kAttentionBlock);
  if (begin >= end) return 0;
  return (~uint64_t(0) >> (kAttentionBlock - (end - begin))) << begin;
}

PF_INLINE int64_t mask_start(const AttentionInput& in, int64_t b, int64_t head, int64_t i, int64_t block) {
  return b * in.mask_batch + head * in.mask_head + i * in.mask_query + block * kAttentionBlock * in.mask_key;
}

// Element `at` of the added mask.
template <class T>
PF_INLINE Accumulator<T> added_mask(const AttentionInput& in, int64_t at) {
  if (in.mask_wide) return static_cast<const Accumulator<T>*>(in.mask_added)[at];
  return widened(static_cast<const T*>(in.mask_added)[at]);
}

#if !defined(PF_CUDA)
// Those of `bits`, one for each key of a block, whose keys the mask allows. `start` is mask_start() of the row.
template <class T>
PF_INLINE uint64_t mask_bits(const AttentionInput& in, uint64_t bits, int64_t start) {
  if (in.mask_allowed) {
    for (uint64_t left = bits; left; left &= left - 1) {
      const int j = __builtin_ctzll(left);
      if (!in.mask_allowed[start + j * in.mask_key]) bits &= ~(uint64_t(1) << j);
    }
  } else if (in.mask_added) {
    for (uint64_t left = bits; left; left &= left - 1) {
      const int j = __builtin_ctzll(left);
      if (added_mask<T>(in, start + j * in.mask_key) == -kInfinity<Accumulator<T>>) bits &= ~(uint64_t(1) << j);
    }
  }
  return bits;
}
#endif

}  // namespace pyformer::PF_ISA
