// Element types, and the conversions of the two that are storage only (bfloat16, float16).
#pragma once
#include <cstdint>
#include <cstring>

namespace pyformer {

enum class DType : uint8_t { float32, float64, bfloat16, float16, int64, int32, boolean };

const char* name(DType dtype);
int64_t item_bytes(DType dtype);

inline bool is_float(DType d) { return d <= DType::float16; }
// The float types that arithmetic is done in.
inline bool is_compute_float(DType d) { return d <= DType::float64; }
inline bool is_integer(DType d) { return d == DType::int64 || d == DType::int32; }

struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

// Nearest even; NaN stays NaN.
BFloat16 to_bfloat16(float x);
Float16 to_float16(float x);
float to_float(BFloat16 x);
float to_float(Float16 x);

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::float32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::float64;
};
template <>
struct DTypeOf<BFloat16> {
  static constexpr DType value = DType::bfloat16;
};
template <>
struct DTypeOf<Float16> {
  static constexpr DType value = DType::float16;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType value = DType::int64;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::int32;
};
template <>
struct DTypeOf<bool> {
  static constexpr DType value = DType::boolean;
};

}  // namespace pyformer
