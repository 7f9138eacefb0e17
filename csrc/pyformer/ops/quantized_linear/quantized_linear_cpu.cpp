// quantized_linear, vector code for one instruction set. Integers are exact however they are added, so the bits are
// those of quantized_linear_ref.cpp.
//
// A panel is 16 rows of w: four bytes of each make a register of 64 bytes, which is multiplied by four bytes of x.
#include "pyformer/base/vec.h"
#include "pyformer/ops/activation/activation_functions.h"
#include "pyformer/ops/matmul/matmul_epilogue.h"
#include "pyformer/ops/quantized_linear/quantize_rows.h"
#include "pyformer/ops/quantized_linear/quantized_blocks.h"
#if defined(__AVX512F__)
#pragma GCC target("avx512vnni,f16c")
#elif defined(__AVX2__)
#pragma GCC target("f16c")
#endif

namespace pyformer::PF_ISA {

// ---- four k of 16 rows ----------------------------------------------------------------------------------------

PF_INLINE int32_t four_bytes(const int8_t* p) {
  int32_t four;
  __builtin_memcpy(&four, p, 4);
  return four;
}

#if defined(__AVX2__)
// Registers of 32 bytes. Sums of two products fit in 16 bits for q up to 129; others are multiplied as q - 128, by
// their signs. (VPMADDUBSW saturates.)
struct Quads {
  static constexpr bool is_signed_at_128 = true;
  struct Bytes {
    __m256i part[2];
  };
  using Sums = Bytes;
  static PF_INLINE Bytes load(const uint8_t* p) {
    const auto* from = reinterpret_cast<const __m256i*>(p);
    return {{_mm256_loadu_si256(from), _mm256_loadu_si256(from + 1)}};
  }
  static PF_INLINE Bytes low(const Bytes& b) {
    const __m256i mask = _mm256_set1_epi8(15);
    return {{_mm256_and_si256(b.part[0], mask), _mm256_and_si256(b.part[1], mask)}};
  }
  static PF_INLINE Bytes high(const Bytes& b) {
    return low({{_mm256_srli_epi16(b.part[0], 4), _mm256_srli_epi16(b.part[1], 4)}});
  }
  static PF_INLINE Sums all(int32_t value) { return {{_mm256_set1_epi32(value), _mm256_set1_epi32(value)}}; }
  template <bool at_128>
  static PF_INLINE Sums add(Sums sums, const Bytes& w, const int8_t* x) {
    const __m256i four = _mm256_set1_epi32(four_bytes(x)), ones = _mm256_set1_epi16(1);
    for (int i = 0; i < 2; ++i) {
      __m256i pairs;
      if constexpr (at_128) {
        const __m256i q = _mm256_xor_si256(w.part[i], _mm256_set1_epi8(-128));
        pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(four, q));
      } else {
        pairs = _mm256_maddubs_epi16(w.part[i], four);
      }
      sums.part[i] = _mm256_add_epi32(sums.part[i], _mm256_madd_epi16(pairs, ones));
    }
    return sums;
  }
  static PF_INLINE Sums joined(const Sums& coarse, const Sums& fine) {
    Sums sums;
    for (int i = 0; i < 2; ++i)
      sums.part[i] = _mm256_add_epi32(_mm256_mullo_epi32(coarse.part[i], _mm256_set1_epi32(kQuantFine)), fine.part[i]);
    return sums;
  }
  static PF_INLINE Lanes<float> floats(const Sums& sums) {
    alignas(64) float to[16];
    for (int i = 0; i < 2; ++i) _mm256_store_ps(to + 8 * i, _mm256_cvtepi32_ps(sums.part[i]));
    return Lanes<float>::load(to);
  }
  static PF_INLINE Lanes<float> halves(const uint8_t* p) {
    const auto* from = reinterpret_cast<const __m128i*>(p);
    alignas(64) float to[16];
    for (int i = 0; i < 2; ++i) _mm256_store_ps(to + 8 * i, _mm256_cvtph_ps(_mm_loadu_si128(from + i)));
    return Lanes<float>::load(to);
  }
};
#else
struct Quads {
  static constexpr bool is_signed_at_128 = false;
  struct Bytes {
    uint8_t at[64];
  };
  struct Sums {
    int32_t at[16];
  };
  static PF_INLINE Bytes load(const uint8_t* p) {
    Bytes b;
    __builtin_memcpy(b.at, p, 64);
    return b;
  }
  static PF_INLINE Bytes low(Bytes b) {
    for (int i = 0; i < 64; ++i) b.at[i] &= 15;
    return b;
  }
  static PF_INLINE Bytes high(Bytes b) {
    for (int i = 0; i < 64; ++i) b.at[i] >>= 4;
    return b;
  }
  static PF_INLINE Sums all(int32_t value) {
    Sums s;
    for (int i = 0; i < 16; ++i) s.at[i] = value;
    return s;
  }
  template <bool>
  static PF_INLINE Sums add(Sums sums, const Bytes& w, const int8_t* x) {
    for (int i = 0; i < 64; ++i) sums.at[i / 4] += int32_t(w.at[i]) * x[i % 4];
    return sums;
  }
  static PF_INLINE Sums joined(Sums coarse, const Sums& fine) {
    for (int i = 0; i < 16; ++i) coarse.at[i] = coarse.at[i] * kQuantFine + fine.at[i];
    return coarse;
  }
  static PF_INLINE Lanes<float> floats(const Sums& sums) {
    alignas(64) float to[16];
    for (int i = 0; i < 16; ++i) to[i] = float(sums.at[i]);
    return Lanes<float>::load(to);
  }
  static PF_INLINE Lanes<float> halves(const uint8_t* p) {
    alignas(64) float to[16];
    for (int i = 0; i < 16; ++i) to[i] = half_at(p + 2 * i);
    return Lanes<float>::load(to);
  }
};
#endif

#if defined(__AVX512F__)
// VPDPBUSD: registers of 64 bytes.
struct VnniQuads {
  static constexpr bool is_signed_at_128 = false;
  using Bytes = __m512i;
  using Sums = __m512i;
  static PF_INLINE Bytes load(const uint8_t* p) { return _mm512_loadu_si512(p); }
  static PF_INLINE Bytes low(Bytes b) { return _mm512_and_si512(b, _mm512_set1_epi8(15)); }
  static PF_INLINE Bytes high(Bytes b) { return low(_mm512_srli_epi16(b, 4)); }
  static PF_INLINE Sums all(int32_t value) { return _mm512_set1_epi32(value); }
  template <bool>
  static PF_INLINE Sums add(Sums sums, Bytes w, const int8_t* x) {
    return _mm512_dpbusd_epi32(sums, w, _mm512_set1_epi32(four_bytes(x)));
  }
  static PF_INLINE Sums joined(Sums coarse, Sums fine) {
    return _mm512_add_epi32(_mm512_mullo_epi32(coarse, _mm512_set1_epi32(kQuantFine)), fine);
  }
  static PF_INLINE Lanes<float> floats(Sums sums) { return {{{_mm512_cvtepi32_ps(sums)}}}; }
  static PF_INLINE Lanes<float> halves(const uint8_t* p) {
    return {{{_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))}}};
  }
};
#endif

// ---- panels ---------------------------------------------------------------------------------------------------

// A panel as it lies, with scales and minima of float16, or unpacked, with float32.
struct QuantPanel {
  const uint8_t* quants;
  const uint8_t* scales;
  const uint8_t* minima;  // null: the format has none
};

static QuantPanel panel_as_it_lies(const QuantMatrix& w, int64_t panel) {
  const uint8_t* quants = w.data + panel * w.panel_bytes();
  const uint8_t* scales = quants + w.quants_bytes();
  return {quants, scales, w.row().has_minimum ? scales + 32 * w.groups() : nullptr};
}

static QuantPanel unpacked_panel(const QuantMatrix& w, int64_t panel, void* memory) {
  const QuantFormatRow& f = w.row();
  const int64_t groups = f.block / f.group;
  auto* quants = static_cast<uint8_t*>(memory);
  auto* scales = reinterpret_cast<float*>(quants + 16 * w.width());
  float* minima = scales + 16 * w.groups();
  for (int64_t lane = 0; lane < 16; ++lane) {
    const int64_t row = panel * 16 + lane < w.n ? panel * 16 + lane : w.n - 1;  // what is too much is not stored
    for (int64_t i = 0; i < w.blocks(); ++i) {
      QuantBlock b;
      read_block(w.format, w.data + row * w.row_bytes() + i * f.bytes, &b);
      for (int64_t j = 0; j < f.block; j += 4) __builtin_memcpy(quants + (i * f.block + j) * 16 + lane * 4, b.q + j, 4);
      for (int64_t j = 0; j < groups; ++j) {
        scales[(i * groups + j) * 16 + lane] = b.scales[j];
        if (f.has_minimum) minima[(i * groups + j) * 16 + lane] = b.minima[j];
      }
    }
  }
  return {quants, reinterpret_cast<const uint8_t*>(scales),
          f.has_minimum ? reinterpret_cast<const uint8_t*>(minima) : nullptr};
}

template <class Q, bool is_half>
static PF_INLINE Lanes<float> scales_at(const uint8_t* p, int64_t group) {
  if constexpr (is_half)
    return Q::halves(p + 32 * group);
  else
    return Lanes<float>::load(reinterpret_cast<const float*>(p) + 16 * group);
}

// Adds the products of a register of w and four numbers at x; of 4 bits, whose upper halves are the weights of the
// four numbers 16 later, also those.
template <class Q, int bits, bool at_128>
static PF_INLINE typename Q::Sums add_quads(typename Q::Sums sums, const typename Q::Bytes& w, const int8_t* x) {
  if constexpr (bits == 4) {
    sums = Q::template add<false>(sums, Q::low(w), x);
    return Q::template add<false>(sums, Q::high(w), x + 16);
  } else {
    return Q::template add<at_128>(sums, w, x);
  }
}

// sums[r][lane] of `count` rows of x from `row` on.
template <class Q, int bits, bool at_128, bool is_half, int count>
static void multiply(const QuantProducts& g, const QuantPanel& panel, int64_t row, float (*to)[16]) {
  constexpr int64_t kStep = bits == 4 ? 32 : 16;  // numbers of x for 4 registers of w
  const QuantFormatRow& f = g.w.row();
  const int64_t width = g.w.width(), runs = g.w.runs(), length = f.run(), groups = width / kQuantXGroup;
  const int32_t zero = at_128 && Q::is_signed_at_128 ? 0 : f.zero;
  const uint8_t* quants = panel.quants;
  Lanes<float> sums[count];
#pragma GCC unroll 8
  for (int r = 0; r < count; ++r) sums[r] = Lanes<float>::zero();
  for (int64_t run = 0; run < runs; ++run) {
    const uint8_t *wide = g.wide + row * groups + run * length / kQuantXGroup, *start = quants;
    typename Q::Sums dots[count];
#pragma GCC unroll 8
    for (int r = 0; r < count; ++r) dots[r] = Q::all(wide[r * groups] ? 0 : -zero * g.sums[(row + r) * runs + run]);
    for (int64_t k = run * length; k < (run + 1) * length; k += kStep) {
      const int8_t* x = g.q + row * width + k;
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i, quants += 64) {
        const typename Q::Bytes w = Q::load(quants);
#pragma GCC unroll 8
        for (int r = 0; r < count; ++r) dots[r] = add_quads<Q, bits, at_128>(dots[r], w, x + r * width + 4 * i);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < count; ++r)
      if (wide[r * groups]) [[unlikely]] {
        const int8_t* x = g.q + (g.rows + row + r) * width + run * length;
        typename Q::Sums fine = Q::all(-zero * g.sums[(row + r) * runs + run]);
        for (int64_t at = 0; at < length / kStep * 4; ++at)
          fine = add_quads<Q, bits, at_128>(fine, Q::load(start + 64 * at), x + at / 4 * kStep + at % 4 * 4);
        dots[r] = Q::joined(dots[r], fine);
      }
    const int64_t group = run * length / f.group;
    const Lanes<float> scales = scales_at<Q, is_half>(panel.scales, group);
#pragma GCC unroll 8
    for (int r = 0; r < count; ++r) {
      const float scale = g.scales[((row + r) * width + run * length) / kQuantXGroup];
      sums[r] = fma(Q::floats(dots[r]), scales * Lanes<float>::broadcast(scale), sums[r]);
      if (panel.minima)
        sums[r] = fma(Lanes<float>::broadcast(float(g.sums[(row + r) * runs + run])),
                      scales_at<Q, is_half>(panel.minima, group) * Lanes<float>::broadcast(scale), sums[r]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < count; ++r) sums[r].store(to[r]);
}

template <class Q, int count>
static void multiply_rows(const QuantProducts& g, const QuantPanel& panel, int64_t row, float (*to)[16]) {
  const QuantFormatRow& f = g.w.row();
  if (f.bits == 4) return multiply<Q, 4, false, true, count>(g, panel, row, to);
  if (f.bits == 8) return multiply<Q, 8, true, true, count>(g, panel, row, to);
  if (f.zero == 128) return multiply<Q, 8, true, false, count>(g, panel, row, to);
  return multiply<Q, 8, false, false, count>(g, panel, row, to);
}

// Bias, activation and residual, and the store, of one row's columns [col, col + n).
template <class F>
static PF_INLINE void finish_row(const QuantProducts& g, int64_t row, int64_t col, int64_t n, const float* sums) {
  using V = Vec<float>;
  for (int64_t i = 0; i < n; i += V::width) {
    const int64_t left = n - i < V::width ? n - i : V::width, at = row * g.w.n + col + i;
    const auto load = [&](const void* p) { return V::load_partial(static_cast<const float*>(p) + at, left); };
    const auto store = [&](void* p, V value) { value.store_partial(static_cast<float*>(p) + at, left); };
    const auto bias = [&] { return V::load_partial(static_cast<const float*>(g.epilogue.bias) + col + i, left); };
    store(g.out, finish<F>(g.epilogue, V::load(sums + i), bias, load, store));
  }
}

template <class Q>
static void products(const QuantProducts& g, int64_t begin, int64_t end) {
  with_activation(g.epilogue.activation, [&]<class F>() {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t panel = item / g.ranges(), start = item % g.ranges() * g.kRows;
      const int64_t stop = start + g.kRows < g.rows ? start + g.kRows : g.rows;
      const int64_t col = panel * 16, n = g.w.n - col < 16 ? g.w.n - col : 16;
      const QuantPanel w = g.w.row().bits ? panel_as_it_lies(g.w, panel) : unpacked_panel(g.w, panel, g.scratch);
      for (int64_t row = start, count; row < stop; row += count) {
        alignas(64) float sums[8][16];
        count = stop - row >= 8 ? 8 : stop - row >= 4 ? 4 : stop - row >= 2 ? 2 : 1;
        (count == 8   ? multiply_rows<Q, 8>
         : count == 4 ? multiply_rows<Q, 4>
         : count == 2 ? multiply_rows<Q, 2>
                      : multiply_rows<Q, 1>)(g, w, row, sums);
        for (int64_t r = 0; r < count; ++r) finish_row<F>(g, row + r, col, n, sums[r]);
      }
    }
  });
}

static Kernel<QuantProducts> fastest_products() {
#if defined(__AVX512F__)
  if (__builtin_cpu_supports("avx512vnni")) return products<VnniQuads>;
  return KernelsOf<QuantizedLinearTable, Isa::avx2>::table().multiply[DType::float32];
#else
  return products<Quads>;
#endif
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const QuantizedLinearTable& KernelsOf<QuantizedLinearTable, PF_ISA::kIsa>::table() {
  static const QuantizedLinearTable table = {{{PF_ISA::quantize_rows}}, {{PF_ISA::fastest_products()}}, {}, {}, {}, {}};
  return table;
}
}  // namespace pyformer
