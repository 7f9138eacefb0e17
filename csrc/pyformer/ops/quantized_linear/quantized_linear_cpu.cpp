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

// Whether q are above 128 or below it, about as often.
constexpr bool is_at_128(const QuantFormatRow& f) { return f.bits != 4 && f.zero == 128; }

// ---- four k of 16 rows ----------------------------------------------------------------------------------------

PF_INLINE int32_t four_bytes(const int8_t* p) {
  int32_t four;
  __builtin_memcpy(&four, p, 4);
  return four;
}

// What one register of w at a time does: `Q::low`, `Q::high` and `Q::multiplied`.
template <class Q, int bits, int count>
static PF_INLINE void add_registers(typename Q::Sums (&sums)[count], const uint8_t* w, const int8_t* x, int64_t width) {
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const typename Q::Bytes bytes = Q::load(w + 64 * i);
#pragma GCC unroll 8
    for (int r = 0; r < count; ++r) {
      const int8_t* four = x + r * width + 4 * i;
      if constexpr (bits == 4)
        sums[r] = Q::multiplied(Q::multiplied(sums[r], Q::low(bytes), four), Q::high(bytes), four + 16);
      else
        sums[r] = Q::multiplied(sums[r], bytes, four);
    }
  }
}

#if defined(__AVX512F__)
// VPDPBUSD: registers of 64 bytes.
struct VnniQuads {
  static constexpr int kRows = 8;          // of x at once
  static constexpr int kPanels = 2;        // at once, of one row of x
  static constexpr int64_t kAhead = 8192;  // how many bytes ahead lines are asked for then
  static constexpr bool is_signed_at_128 = false;
  using Bytes = __m512i;
  using Sums = __m512i;
  static PF_INLINE Bytes load(const uint8_t* p) { return _mm512_loadu_si512(p); }
  static PF_INLINE Bytes low(Bytes b) { return _mm512_and_si512(b, _mm512_set1_epi8(15)); }
  static PF_INLINE Bytes high(Bytes b) { return low(_mm512_srli_epi16(b, 4)); }
  static PF_INLINE Sums all(int32_t value) { return _mm512_set1_epi32(value); }
  static PF_INLINE Sums multiplied(Sums sums, Bytes w, const int8_t* x) {
    return _mm512_dpbusd_epi32(sums, w, _mm512_set1_epi32(four_bytes(x)));
  }
  template <int bits, bool, int count>
  static PF_INLINE void add(Sums (&sums)[count], const uint8_t* w, const int8_t* x, int64_t width) {
    add_registers<VnniQuads, bits>(sums, w, x, width);
  }
  static PF_INLINE Sums joined(Sums coarse, Sums fine) {
    return _mm512_add_epi32(_mm512_mullo_epi32(coarse, _mm512_set1_epi32(kQuantFine)), fine);
  }
  static PF_INLINE Lanes<float> floats(Sums sums) { return {{{_mm512_cvtepi32_ps(sums)}}}; }
  static PF_INLINE Lanes<float> halves(const uint8_t* p) {
    return {{{_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))}}};
  }
};
#elif defined(__AVX2__)
// Registers of 32 bytes, whose VPMADDUBSW saturates at 16 bits: how many sums of two products are added up there. q of
// 8 bits are multiplied as q - 128, by their signs.
constexpr int sums_in_16_bits(int bits, bool at_128) { return bits == 4 ? 8 : at_128 ? 1 : 2; }

constexpr bool fits_in_16_bits(const QuantFormatRow& f) {
  const bool at_128 = is_at_128(f);
  const int above = f.most - 128, most = !at_128 ? f.most : above > 128 ? above : 128;
  return sums_in_16_bits(f.bits, at_128) * 2 * most * kQuantXMost <= 32767;
}
static_assert([] {
  for (const QuantFormatRow& f : kQuantFormats)
    if (!fits_in_16_bits(f)) return false;
  return true;
}());

struct Quads {
  static constexpr int kRows = 4;
  static constexpr int kPanels = 1;  // memory gives more to one reader than to two that take turns
  static constexpr int64_t kAhead = 1024;
  static constexpr bool is_signed_at_128 = true;
  struct Sums {
    __m256i part[2];
  };
  static PF_INLINE __m256i four(const int8_t* x) { return _mm256_set1_epi32(four_bytes(x)); }
  // In this order: a tree of sums, which GCC makes of them, has all products in memory.
  static PF_INLINE void add_16(__m256i& sum, __m256i more) {
    sum = _mm256_add_epi16(sum, more);
    asm("" : "+x"(sum));
  }
  static PF_INLINE void add_32(__m256i& sum, __m256i more) {
    sum = _mm256_add_epi32(sum, more);
    asm("" : "+x"(sum));
  }
  static PF_INLINE __m256i widened(__m256i pairs) { return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)); }
  static PF_INLINE Sums all(int32_t value) { return {{_mm256_set1_epi32(value), _mm256_set1_epi32(value)}}; }
  template <int bits, bool at_128, int count>
  static PF_INLINE void add(Sums (&sums)[count], const uint8_t* w, const int8_t* x, int64_t width) {
    __m256i pairs[count][2] = {};
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      __m256i q[2], high[2], magnitudes[2];
      for (int half = 0; half < 2; ++half) {
        const __m256i mask = _mm256_set1_epi8(15);
        q[half] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + 64 * i + 32 * half));
        high[half] = _mm256_and_si256(_mm256_srli_epi16(q[half], 4), mask);
        if (bits == 4) q[half] = _mm256_and_si256(q[half], mask);
        if (at_128) q[half] = _mm256_xor_si256(q[half], _mm256_set1_epi8(-128));
        magnitudes[half] = _mm256_abs_epi8(q[half]);
      }
#pragma GCC unroll 4
      for (int r = 0; r < count; ++r) {
        const int8_t* at = x + r * width + 4 * i;
        for (int half = 0; half < 2; ++half) {
          __m256i& sum = pairs[r][half];
          if constexpr (at_128) {
            sum = _mm256_maddubs_epi16(magnitudes[half], _mm256_sign_epi8(four(at), q[half]));
          } else {
            add_16(sum, _mm256_maddubs_epi16(q[half], four(at)));
            if (bits == 4) add_16(sum, _mm256_maddubs_epi16(high[half], four(at + 16)));
          }
          if ((i + 1) * (bits == 4 ? 2 : 1) % sums_in_16_bits(bits, at_128)) continue;
          add_32(sums[r].part[half], widened(sum));
          sum = _mm256_setzero_si256();
        }
      }
    }
  }
  static PF_INLINE Sums joined(const Sums& coarse, const Sums& fine) {
    Sums sums;
    for (int i = 0; i < 2; ++i)
      sums.part[i] = _mm256_add_epi32(_mm256_mullo_epi32(coarse.part[i], _mm256_set1_epi32(kQuantFine)), fine.part[i]);
    return sums;
  }
  static PF_INLINE Lanes<float> floats(const Sums& sums) {
    return {{{_mm256_cvtepi32_ps(sums.part[0])}, {_mm256_cvtepi32_ps(sums.part[1])}}};
  }
  static PF_INLINE Lanes<float> halves(const uint8_t* p) {
    const auto* from = reinterpret_cast<const __m128i*>(p);
    return {{{_mm256_cvtph_ps(_mm_loadu_si128(from))}, {_mm256_cvtph_ps(_mm_loadu_si128(from + 1))}}};
  }
};
#else
struct Quads {
  static constexpr int kRows = 8;
  static constexpr int kPanels = 2;
  static constexpr int64_t kAhead = 8192;
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
  static PF_INLINE Sums multiplied(Sums sums, const Bytes& w, const int8_t* x) {
    for (int i = 0; i < 64; ++i) sums.at[i / 4] += int32_t(w.at[i]) * x[i % 4];
    return sums;
  }
  template <int bits, bool, int count>
  static PF_INLINE void add(Sums (&sums)[count], const uint8_t* w, const int8_t* x, int64_t width) {
    add_registers<Quads, bits>(sums, w, x, width);
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

// ---- panels ---------------------------------------------------------------------------------------------------

// A panel as it lies, with scales and minima of float16, of which only `quants` is set; or unpacked, with float32.
struct QuantPanel {
  const uint8_t* quants;
  const uint8_t* scales = nullptr;
  const uint8_t* minima = nullptr;
};

static QuantPanel panel_as_it_lies(const QuantMatrix& w, int64_t panel) { return {w.data + panel * w.panel_bytes()}; }

// What a run has of a panel.
struct QuantRun {
  const uint8_t *quants, *scales, *minima;
};

template <int bits>
constexpr int64_t kRunBytes = kQuantXGroup * 16 * bits / 8;

// Runs of panels as they lie: the offsets of QuantMatrix, without divisions.
template <int bits>
struct RunsAsTheyLie {
  int of_group, of_head;  // how many runs, as powers of two
  explicit RunsAsTheyLie(const QuantFormatRow& f) : of_group(f.group == 64), of_head(of_group + !f.has_minimum) {}
  PF_INLINE QuantRun at(const uint8_t* panel, int64_t run) const {
    const uint8_t* head = panel + (run >> of_head) * (kQuantHead + (kRunBytes<bits> << of_head));
    const int64_t i = run & ((int64_t(1) << of_head) - 1);
    return {head + kQuantHead + i * kRunBytes<bits>, head + (i >> of_group) * 32, head + 32};
  }
};

template <int bits, int64_t ahead>
static PF_INLINE void ask_for_lines(const QuantRun& run) {
  __builtin_prefetch(run.scales + ahead);
#pragma GCC unroll 8
  for (int64_t line = 0; line < kRunBytes<bits>; line += 64) __builtin_prefetch(run.quants + ahead + line);
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
  return {quants, reinterpret_cast<const uint8_t*>(scales), reinterpret_cast<const uint8_t*>(minima)};
}

template <class Q, bool is_half>
static PF_INLINE Lanes<float> scales_at(const uint8_t* p) {
  if constexpr (is_half)
    return Q::halves(p);
  else
    return Lanes<float>::load(reinterpret_cast<const float*>(p));
}

template <int bits>
constexpr int64_t kStep = bits == 4 ? 32 : 16;  // numbers of x for 4 registers of w

// The sums of a run whose numbers have fine parts, from those of the coarse ones.
template <class Q, int bits, bool at_128>
[[gnu::noinline]] static typename Q::Sums with_fine(typename Q::Sums coarse, int32_t first, const uint8_t* w,
                                                    const int8_t* fine, int64_t length) {
  typename Q::Sums sums[1] = {Q::all(first)};
  for (int64_t at = 0; at < length; at += kStep<bits>, w += 256) Q::template add<bits, at_128>(sums, w, fine + at, 0);
  return Q::joined(coarse, sums[0]);
}

// sums[r][lane] of `count` rows of x from `row` on.
template <class Q, int bits, bool at_128, bool is_half, int count>
static void multiply(const QuantProducts& g, const QuantPanel& panel, int64_t row, float (*to)[16]) {
  const QuantFormatRow& f = g.w.row();
  constexpr int64_t kAhead = 2048;
  const int64_t length = is_half ? kQuantXGroup : f.run();
  const int64_t width = g.w.width(), runs = width / length, groups = width / kQuantXGroup;
  const int32_t zero = at_128 && Q::is_signed_at_128 ? 0 : f.zero;
  const bool has_minimum = f.has_minimum;
  const RunsAsTheyLie<bits> as_they_lie(f);
  Lanes<float> sums[count];
#pragma GCC unroll 8
  for (int r = 0; r < count; ++r) sums[r] = Lanes<float>::zero();
  for (int64_t run = 0; run < runs; ++run) {
    const uint8_t* wide = g.wide + row * groups + run * length / kQuantXGroup;
    const QuantRun w =
        is_half ? as_they_lie.at(panel.quants, run)
                : QuantRun{panel.quants + 16 * length * run, panel.scales + 64 * run, panel.minima + 64 * run};
    if constexpr (is_half) ask_for_lines<bits, kAhead>(w);
    const uint8_t* quants = w.quants;
    typename Q::Sums dots[count];
#pragma GCC unroll 8
    for (int r = 0; r < count; ++r) dots[r] = Q::all(wide[r * groups] ? 0 : -zero * g.sums[(row + r) * runs + run]);
#pragma GCC unroll 2
    for (int64_t at = 0; at < length; at += kStep<bits>, quants += 256)
      Q::template add<bits, at_128>(dots, quants, g.q + row * width + run * length + at, width);
#pragma GCC unroll 8
    for (int r = 0; r < count; ++r)
      if (wide[r * groups]) [[unlikely]] {
        const int8_t* fine = g.q + (g.rows + row + r) * width + run * length;
        dots[r] = with_fine<Q, bits, at_128>(dots[r], -zero * g.sums[(row + r) * runs + run], w.quants, fine, length);
      }
    const Lanes<float> scales = scales_at<Q, is_half>(w.scales);
#pragma GCC unroll 8
    for (int r = 0; r < count; ++r) {
      const float scale = g.scales[((row + r) * width + run * length) / kQuantXGroup];
      sums[r] = fma(Q::floats(dots[r]), scales * Lanes<float>::broadcast(scale), sums[r]);
      if (has_minimum)
        sums[r] = fma(Lanes<float>::broadcast(float(g.sums[(row + r) * runs + run])),
                      scales_at<Q, is_half>(w.minima) * Lanes<float>::broadcast(scale), sums[r]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < count; ++r) sums[r].store(to[r]);
}

// Sums of one row of x by panel and lane: panels share what is done for x, and none waits for another. Lines are asked
// for past the end of a panel, too, as the next one follows.
template <class Q, int bits, bool at_128, int panels>
static void multiply_row(const QuantProducts& g, int64_t first_panel, float* to) {
  const QuantFormatRow& f = g.w.row();
  const int64_t runs = g.w.width() / kQuantXGroup;
  const int32_t zero = at_128 && Q::is_signed_at_128 ? 0 : f.zero;
  const bool has_minimum = f.has_minimum;
  const RunsAsTheyLie<bits> as_they_lie(f);
  const uint8_t* quants[panels];
  Lanes<float> sums[panels];
  for (int p = 0; p < panels; ++p) {
    quants[p] = panel_as_it_lies(g.w, first_panel + p).quants;
    sums[p] = Lanes<float>::zero();
  }
  for (int64_t run = 0; run < runs; ++run) {
    const bool is_wide = g.wide[run];
    const int8_t* x = g.q + run * kQuantXGroup;
    const int32_t start = -zero * g.sums[run];
    QuantRun w[panels];
    typename Q::Sums dots[panels];
#pragma GCC unroll 2
    for (int p = 0; p < panels; ++p) {
      w[p] = as_they_lie.at(quants[p], run);
      ask_for_lines<bits, Q::kAhead>(w[p]);
      typename Q::Sums sum[1] = {Q::all(is_wide ? 0 : start)};
#pragma GCC unroll 2
      for (int64_t at = 0; at < kQuantXGroup; at += kStep<bits>)
        Q::template add<bits, at_128>(sum, w[p].quants + at / kStep<bits> * 256, x + at, 0);
      dots[p] = sum[0];
    }
    if (is_wide) [[unlikely]]
      for (int p = 0; p < panels; ++p)
        dots[p] = with_fine<Q, bits, at_128>(dots[p], start, w[p].quants, x + runs * kQuantXGroup, kQuantXGroup);
    const Lanes<float> scale = Lanes<float>::broadcast(g.scales[run]);
    const Lanes<float> x_sum = Lanes<float>::broadcast(float(g.sums[run]));
#pragma GCC unroll 2
    for (int p = 0; p < panels; ++p) {
      sums[p] = fma(Q::floats(dots[p]), Q::halves(w[p].scales) * scale, sums[p]);
      if (has_minimum) sums[p] = fma(x_sum, Q::halves(w[p].minima) * scale, sums[p]);
    }
  }
  for (int p = 0; p < panels; ++p) sums[p].store(to + 16 * p);
}

template <class Q, int count>
static void multiply_rows(const QuantProducts& g, const QuantPanel& panel, int64_t row, float (*to)[16]) {
  const QuantFormatRow& f = g.w.row();
  if (f.bits == 4) return multiply<Q, 4, false, true, count>(g, panel, row, to);
  if (f.bits == 8) return multiply<Q, 8, true, true, count>(g, panel, row, to);
  if (is_at_128(f)) return multiply<Q, 8, true, false, count>(g, panel, row, to);
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

template <class Q, int panels>
static void multiply_row(const QuantProducts& g, int64_t first_panel, float* to) {
  (g.w.row().bits == 4 ? multiply_row<Q, 4, false, panels> : multiply_row<Q, 8, true, panels>)(g, first_panel, to);
}

// Products of one row of x, of panels as they lie.
template <class Q, class F>
static void products_of_row(const QuantProducts& g, int64_t begin, int64_t end) {
  for (int64_t panel = begin, count; panel < end; panel += count) {
    alignas(64) float sums[16 * Q::kPanels];
    count = end - panel < Q::kPanels ? 1 : Q::kPanels;
    (count == 1 ? multiply_row<Q, 1> : multiply_row<Q, Q::kPanels>)(g, panel, sums);
    const int64_t col = panel * 16, n = g.w.n - col < 16 * count ? g.w.n - col : 16 * count;
    finish_row<F>(g, 0, col, n, sums);
  }
}

template <class Q>
static void products(const QuantProducts& g, int64_t begin, int64_t end) {
  with_activation(g.epilogue.activation, [&]<class F>() {
    if (g.rows == 1 && g.w.row().bits) return products_of_row<Q, F>(g, begin, end);
    for (int64_t item = begin; item < end; ++item) {
      const int64_t panel = item / g.ranges(), start = item % g.ranges() * g.kRows;
      const int64_t stop = start + g.kRows < g.rows ? start + g.kRows : g.rows;
      const int64_t col = panel * 16, n = g.w.n - col < 16 ? g.w.n - col : 16;
      const QuantPanel w = g.w.row().bits ? panel_as_it_lies(g.w, panel) : unpacked_panel(g.w, panel, g.scratch);
      for (int64_t row = start, count; row < stop; row += count) {
        alignas(64) float sums[Q::kRows][16];
        count = stop - row >= Q::kRows ? Q::kRows : stop - row >= 4 ? 4 : stop - row >= 2 ? 2 : 1;
        (count == 8   ? multiply_rows<Q, Q::kRows>
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
