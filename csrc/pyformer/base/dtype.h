// Element types: one table of what is known of each, and the conversions of the two 16-bit floats.
#pragma once
#include <cstdint>
#include <cstring>

namespace pyformer {

// The numbers are in pickled files: new types go to the end.
enum class DType : uint8_t { float32, float64, bfloat16, float16, int64, int32, boolean, int8, uint8 };
constexpr int kDTypeCount = 9;

struct DTypeRow {
  const char* name;
  int64_t item_bytes;
  bool is_float, is_integer;
  DType accumulator;        // what sums, statistics and gradients of parameters are held in
  const char* numpy;        // null: NumPy has no such type
  uint8_t dlpack_code;      // DLDataTypeCode
  const char* safetensors;  // the code in a safetensors header
};
constexpr DTypeRow kDTypes[kDTypeCount] = {
    {"float32", 4, true, false, DType::float32, "float32", 2, "F32"},
    {"float64", 8, true, false, DType::float64, "float64", 2, "F64"},
    {"bfloat16", 2, true, false, DType::float32, nullptr, 4, "BF16"},
    {"float16", 2, true, false, DType::float32, "float16", 2, "F16"},
    {"int64", 8, false, true, DType::int64, "int64", 0, "I64"},
    {"int32", 4, false, true, DType::int64, "int32", 0, "I32"},
    {"bool", 1, false, false, DType::int64, "bool", 6, "BOOL"},
    {"int8", 1, false, true, DType::int64, "int8", 0, "I8"},
    {"uint8", 1, false, true, DType::int64, "uint8", 1, "U8"},
};

constexpr const DTypeRow& row_of(DType d) { return kDTypes[int(d)]; }
constexpr const char* name(DType d) { return row_of(d).name; }
constexpr int64_t item_bytes(DType d) { return row_of(d).item_bytes; }
constexpr bool is_float(DType d) { return row_of(d).is_float; }
constexpr bool is_integer(DType d) { return row_of(d).is_integer; }
constexpr DType accumulator(DType d) { return row_of(d).accumulator; }
// What a leaf's gradient is held in; float32 for 16-bit parameters. A node's has its output's dtype.
constexpr DType gradient_dtype(DType d) { return is_float(d) ? accumulator(d) : d; }

struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

#if defined(__CUDACC__)
#define PF_ALWAYS_INLINE __host__ __device__ __forceinline__
#else
#define PF_ALWAYS_INLINE inline __attribute__((always_inline))
#endif

#if defined(__CUDA_ARCH__)
namespace cuda {  // a GPU's instructions for conversions, in cuda/conversions.h
__device__ __forceinline__ uint16_t bfloat16_bits(float x);
__device__ __forceinline__ uint16_t float16_bits(float x);
__device__ __forceinline__ float float16_value(uint16_t bits);
}  // namespace cuda
#endif

// Conversions round to the nearest, ties to even; NaN stays NaN. A GPU's instructions always give the same NaN.
PF_ALWAYS_INLINE uint32_t float_bits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}
PF_ALWAYS_INLINE float float_of_bits(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

PF_ALWAYS_INLINE BFloat16 to_bfloat16(float x) {
#if defined(__CUDA_ARCH__)
  return {cuda::bfloat16_bits(x)};
#else
  const uint32_t bits = float_bits(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {uint16_t((bits >> 16) | 0x40u)};
  return {uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
#endif
}

PF_ALWAYS_INLINE float to_float(BFloat16 x) { return float_of_bits(uint32_t(x.bits) << 16); }

PF_ALWAYS_INLINE Float16 to_float16(float x) {
#if defined(__CUDA_ARCH__)
  return {cuda::float16_bits(x)};
#else
  const uint32_t bits = float_bits(x), sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return {uint16_t(sign | 0x7e00u)};
  if (magnitude >= 0x477ff000u) return {uint16_t(sign | 0x7c00u)};  // 65,520 and above round to infinity
  if (magnitude < 0x38800000u) {  // below 2^-14: adding 0.5 leaves the subnormal's bits, rounded, at the end
    return {uint16_t(sign | (float_bits(float_of_bits(magnitude) + 0.5f) - 0x3f000000u))};
  }
  const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return {uint16_t(sign | ((rounded - 0x38000000u) >> 13))};
#endif
}

PF_ALWAYS_INLINE float to_float(Float16 x) {
#if defined(__CUDA_ARCH__)
  return cuda::float16_value(x.bits);
#else
  const uint32_t sign = uint32_t(x.bits & 0x8000u) << 16, magnitude = x.bits & 0x7fffu;
  if (magnitude >= 0x7c00u) return float_of_bits(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
  if (magnitude >= 0x400u) return float_of_bits(sign | ((magnitude << 13) + 0x38000000u));
  return float_of_bits(sign | float_bits(float(magnitude) * 0x1p-24f));
#endif
}

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
template <>
struct DTypeOf<int8_t> {
  static constexpr DType value = DType::int8;
};
template <>
struct DTypeOf<uint8_t> {
  static constexpr DType value = DType::uint8;
};

// f.operator()<T>() for the C++ type of a dtype.
template <class F>
PF_ALWAYS_INLINE decltype(auto) with_dtype(DType dtype, const F& f) {
  switch (dtype) {
    case DType::float64:
      return f.template operator()<double>();
    case DType::bfloat16:
      return f.template operator()<BFloat16>();
    case DType::float16:
      return f.template operator()<Float16>();
    case DType::int64:
      return f.template operator()<int64_t>();
    case DType::int32:
      return f.template operator()<int32_t>();
    case DType::boolean:
      return f.template operator()<bool>();
    case DType::int8:
      return f.template operator()<int8_t>();
    case DType::uint8:
      return f.template operator()<uint8_t>();
    case DType::float32:
      break;
  }
  return f.template operator()<float>();
}

}  // namespace pyformer
