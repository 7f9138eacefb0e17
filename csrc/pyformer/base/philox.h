// Random numbers by counter: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3",
// SC 2011). What element i of a stream is depends on (seed, stream, i) alone, never on how a range is cut up.
//
// Counter c of a stream gives four uint32 words: key = (low, high half of seed), counter = (low, high half of c, low,
// high half of stream). Word c * 4 + k of the stream is word k of counter c. Element i of
//   uniform float   is word i, its upper 24 bits times 2^-24
//   uniform double  is words 2i (low) and 2i + 1 (high) as one uint64, its upper 53 bits times 2^-53
//   normal float    pairs words i & ~1 (radius) and i | 1 (angle): Box-Muller, even i the cosine, odd i the sine
//   normal double   pairs those uint64 in the same way
#pragma once
#include "pyformer/base/math.h"

namespace pyformer::PF_ISA {

constexpr uint32_t kPhiloxMultiplier0 = 0xD2511F53, kPhiloxMultiplier1 = 0xCD9E8D57;
constexpr uint32_t kPhiloxWeyl0 = 0x9E3779B9, kPhiloxWeyl1 = 0xBB67AE85;
constexpr int kPhiloxRounds = 10;

struct PhiloxWords {
  uint32_t word[4];
};

// The paper's function: four counter words and two key words to four words.
PF_INLINE PhiloxWords philox_4x32(PhiloxWords counter, uint32_t key0, uint32_t key1) {
  uint32_t c0 = counter.word[0], c1 = counter.word[1], c2 = counter.word[2], c3 = counter.word[3];
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const uint64_t p0 = uint64_t(kPhiloxMultiplier0) * c0, p1 = uint64_t(kPhiloxMultiplier1) * c2;
    c0 = uint32_t(p1 >> 32) ^ c1 ^ key0;
    c1 = uint32_t(p1);
    c2 = uint32_t(p0 >> 32) ^ c3 ^ key1;
    c3 = uint32_t(p0);
    key0 += kPhiloxWeyl0;
    key1 += kPhiloxWeyl1;
  }
  return {{c0, c1, c2, c3}};
}

// The four words of one counter of a stream.
PF_INLINE PhiloxWords philox(uint64_t seed, uint64_t stream, uint64_t counter) {
  return philox_4x32({{uint32_t(counter), uint32_t(counter >> 32), uint32_t(stream), uint32_t(stream >> 32)}},
                     uint32_t(seed), uint32_t(seed >> 32));
}

// Word i of a stream. No array is read by index, which on a GPU would lie in memory.
PF_INLINE uint32_t philox_word(uint64_t seed, uint64_t stream, uint64_t i) {
  const PhiloxWords words = philox(seed, stream, i / 4);
  const uint32_t low = i & 1 ? words.word[1] : words.word[0], high = i & 1 ? words.word[3] : words.word[2];
  return i & 2 ? high : low;
}

#if !defined(PF_CUDA)
// ---- registers of uint64 --------------------------------------------------------------------------------------

using U64 = BitsRegister<double>;
using U32 = BitsRegister<float>;
constexpr int64_t kCountersPerBlock = kVectorBytes / 8;
constexpr uint64_t kLowHalf = 0xFFFFFFFF;

#if defined(__AVX512F__)
PF_INLINE U64 multiply_low_halves(U64 a, U64 b) { return (U64)_mm512_mul_epu32((__m512i)a, (__m512i)b); }
PF_INLINE U64 zip_low(U64 a, U64 b) { return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11); }
PF_INLINE U64 zip_high(U64 a, U64 b) { return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15); }
#elif defined(__AVX2__)
PF_INLINE U64 multiply_low_halves(U64 a, U64 b) { return (U64)_mm256_mul_epu32((__m256i)a, (__m256i)b); }
PF_INLINE U64 zip_low(U64 a, U64 b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
PF_INLINE U64 zip_high(U64 a, U64 b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }
#else
PF_INLINE U64 multiply_low_halves(U64 a, U64 b) { return (a & kLowHalf) * (b & kLowHalf); }
PF_INLINE U64 zip_low(U64 a, U64 b) { return __builtin_shufflevector(a, b, 0, 2); }
PF_INLINE U64 zip_high(U64 a, U64 b) { return __builtin_shufflevector(a, b, 1, 3); }
#endif

// Words 0, 1 (first) and 2, 3 (second) of kCountersPerBlock consecutive counters, a counter a lane.
struct PhiloxBlock {
  U64 first, second;
};

PF_INLINE PhiloxBlock philox_block(uint64_t seed, uint64_t stream, uint64_t counter) {
  U64 c0{};
  for (int64_t j = 0; j < kCountersPerBlock; ++j) c0[j] = counter + uint64_t(j);
  const U64 zero{}, m0 = zero + kPhiloxMultiplier0, m1 = zero + kPhiloxMultiplier1;
  // The upper halves of c1 and c3 hold leftovers, which multiply_low_halves ignores and the last line masks.
  U64 c1 = c0 >> 32, c2 = zero + (stream & kLowHalf), c3 = zero + (stream >> 32);
  uint32_t key0 = uint32_t(seed), key1 = uint32_t(seed >> 32);
#pragma GCC unroll 10
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const U64 p0 = multiply_low_halves(m0, c0), p1 = multiply_low_halves(m1, c2);
    c0 = (p1 >> 32) ^ c1 ^ uint64_t(key0);
    c1 = p1;
    c2 = (p0 >> 32) ^ c3 ^ uint64_t(key1);
    c3 = p0;
    key0 += kPhiloxWeyl0;
    key1 += kPhiloxWeyl1;
  }
  return {(c0 & kLowHalf) | (c1 << 32), (c2 & kLowHalf) | (c3 << 32)};
}

// ---- one block of elements: 4 words a counter make 4 floats or 2 doubles -------------------------------------------

template <class T>
constexpr int64_t kRandomBlock = kCountersPerBlock * 16 / int64_t(sizeof(T));

PF_INLINE void store_block(U64 first, U64 second, uint32_t* out) {
  const U64 low = zip_low(first, second), high = zip_high(first, second);
  __builtin_memcpy(out, &low, sizeof low);
  __builtin_memcpy(out + kRandomBlock<float> / 2, &high, sizeof high);
}

PF_INLINE Vec<float> unit_interval(U32 words) {
  const IntRegister<float> upper = (IntRegister<float>)(words >> 8);
  return Vec<float>{__builtin_convertvector(upper, FloatRegister<float>)} * splat<Vec<float>>(0x1p-24f);
}
PF_INLINE Vec<double> unit_interval(U64 words) {
  const IntRegister<double> upper = (IntRegister<double>)(words >> 11);
  return Vec<double>{__builtin_convertvector(upper, FloatRegister<double>)} * splat<Vec<double>>(0x1p-53);
}

// Box-Muller: radius words to (0, 1], angle words to [-pi, pi].
PF_INLINE SinCos<Vec<float>> box_muller(U32 radius, U32 angle) {
  using V = Vec<float>;
  const V u = {__builtin_convertvector((IntRegister<float>)(radius >> 1), FloatRegister<float>)};
  const V a = {__builtin_convertvector((IntRegister<float>)angle, FloatRegister<float>)};
  const V r = sqrt(splat<V>(-2.0f) * log(fma(u, splat<V>(0x1p-31f), splat<V>(0x1p-32f))));
  const SinCos<V> direction = sincos(a * splat<V>(0x1.921fb6p-30f));  // 2 pi / 2^32
  return {r * direction.sin, r * direction.cos};
}
PF_INLINE SinCos<Vec<double>> box_muller(U64 radius, U64 angle) {
  using V = Vec<double>;
  const V u = {__builtin_convertvector((IntRegister<double>)(radius >> 11), FloatRegister<double>)};
  const V a = {__builtin_convertvector((IntRegister<double>)angle >> 11, FloatRegister<double>)};
  const V r = sqrt(splat<V>(-2.0) * log(fma(u, splat<V>(0x1p-53), splat<V>(0x1p-54))));
  const SinCos<V> direction = sincos(a * splat<V>(0x1.921fb54442d18p-51));  // 2 pi / 2^53
  return {r * direction.sin, r * direction.cos};
}

// What a stream can be turned into: of<T>(block, out) writes the kRandomBlock<T> elements of one block.
struct RandomWords {
  static PF_INLINE void of(const PhiloxBlock& b, uint32_t* out) { store_block(b.first, b.second, out); }
};
struct RandomUniform {
  static PF_INLINE void of(const PhiloxBlock& b, float* out) {
    unit_interval((U32)zip_low(b.first, b.second)).store(out);
    unit_interval((U32)zip_high(b.first, b.second)).store(out + Vec<float>::width);
  }
  static PF_INLINE void of(const PhiloxBlock& b, double* out) {
    unit_interval(zip_low(b.first, b.second)).store(out);
    unit_interval(zip_high(b.first, b.second)).store(out + Vec<double>::width);
  }
};
struct RandomNormal {
  static PF_INLINE void of(const PhiloxBlock& b, float* out) {
    // Low halves are radius words, high halves angle words: pair up those of both registers, and take them apart again.
    const U64 radius = (b.first & kLowHalf) | (b.second << 32), angle = (b.first >> 32) | (b.second & ~kLowHalf);
    const SinCos<Vec<float>> z = box_muller((U32)radius, (U32)angle);
    const U64 cos = (U64)z.cos.r, sin = (U64)z.sin.r;
    const U64 first = (cos & kLowHalf) | (sin << 32), second = (cos >> 32) | (sin & ~kLowHalf);
    Vec<float>{(FloatRegister<float>)zip_low(first, second)}.store(out);
    Vec<float>{(FloatRegister<float>)zip_high(first, second)}.store(out + Vec<float>::width);
  }
  static PF_INLINE void of(const PhiloxBlock& b, double* out) {
    const SinCos<Vec<double>> z = box_muller(b.first, b.second);
    const U64 cos = (U64)z.cos.r, sin = (U64)z.sin.r;
    Vec<double>{(FloatRegister<double>)zip_low(cos, sin)}.store(out);
    Vec<double>{(FloatRegister<double>)zip_high(cos, sin)}.store(out + Vec<double>::width);
  }
};

// ---- ranges of a stream ---------------------------------------------------------------------------------------

// Elements begin .. begin + n of the stream to out[0 .. n).
template <class Kind, class T>
PF_INLINE void random_range(uint64_t seed, uint64_t stream, uint64_t begin, int64_t n, T* out) {
  constexpr int64_t block = kRandomBlock<T>;
  int64_t done = 0;
  while (done < n) {
    const uint64_t i = begin + uint64_t(done);
    const int64_t skip = int64_t(i % uint64_t(block));
    const int64_t part = n - done < block - skip ? n - done : block - skip;
    const PhiloxBlock b = philox_block(seed, stream, i / uint64_t(block) * uint64_t(kCountersPerBlock));
    if (part == block) {
      Kind::of(b, out + done);
    } else {
      T whole[block];
      Kind::of(b, whole);
      for (int64_t j = 0; j < part; ++j) out[done + j] = whole[skip + j];
    }
    done += part;
  }
}

// The stream's words themselves.
inline void random_words(uint64_t seed, uint64_t stream, uint64_t begin, int64_t n, uint32_t* out) {
  random_range<RandomWords>(seed, stream, begin, n, out);
}
// Uniform on [0, 1).
template <class T>
void random_uniform(uint64_t seed, uint64_t stream, uint64_t begin, int64_t n, T* out) {
  random_range<RandomUniform>(seed, stream, begin, n, out);
}
// Mean 0, variance 1.
template <class T>
void random_normal(uint64_t seed, uint64_t stream, uint64_t begin, int64_t n, T* out) {
  random_range<RandomNormal>(seed, stream, begin, n, out);
}
#endif

}  // namespace pyformer::PF_ISA
