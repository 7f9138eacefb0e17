// The elementary functions of kernels: function templates over V = Vec<float>, Vec<double>, float, double, and the same
// names on Lanes<T>. Each is one fixed sequence of + - * / sqrt, fma, comparisons and integer operations on the bits,
// so a value has the same bits as a scalar and in a register of any instruction set. No libm.
//
// NaN in gives NaN out. Results in the denormal range are rounded right unless a function says otherwise.
#pragma once
#if defined(PF_CUDA)  // its kernels know scalars only
#include "pyformer/base/scalar.h"
#else
#include "pyformer/base/vec.h"
#endif

namespace pyformer::PF_ISA {

template <class V>
constexpr bool kIsFloat = sizeof(Element<V>) == 4;

// c0 + c1 x + c2 x^2 + ... by Horner's rule, an FMA a coefficient.
template <Real V>
PF_INLINE V polynomial(V, Element<V> c0) {
  return splat<V>(c0);
}
template <Real V, class... C>
PF_INLINE V polynomial(V x, Element<V> c0, C... higher) {
  return fma(polynomial<V>(x, higher...), x, splat<V>(c0));
}

// ---- exp ------------------------------------------------------------------------------------------------------

template <class T>
struct ExpConstants;
template <>
struct ExpConstants<float> {
  static constexpr float log2_e = 0x1.715476p0f, ln2_high = 0x1.62e43p-1f, ln2_low = -0x1.05c61p-29f;
  static constexpr float magic = 0x1.8p23f;  // x + magic rounds x to an integer, left in the low bits
  static constexpr int mantissa_bits = 23;
  static constexpr uint32_t bias = 127;
  static constexpr float low = -105.0f, high = 90.0f;  // exp rounds to 0 below, to infinity above
  static constexpr float flush_low = -88.0f;           // 2^-127 < exp(flush_low) < 2^-126.5
};
template <>
struct ExpConstants<double> {
  static constexpr double log2_e = 0x1.71547652b82fep0, ln2_high = 0x1.62e42fefa39efp-1,
                          ln2_low = 0x1.abc9e3b39803fp-56;
  static constexpr double magic = 0x1.8p52;
  static constexpr int mantissa_bits = 52;
  static constexpr uint64_t bias = 1023;
  static constexpr double low = -746.0, high = 711.0;
  static constexpr double flush_low = -708.8;
};

// (exp(r) - 1 - r) / r^2 on |r| <= ln(2)/2 (1 + 2^-16); 1 + r + r^2 tail(r) is exp(r) within a relative
// 2^-27.9 (float), 2^-63.5 (double).
template <Real V>
PF_INLINE V exp_tail(V r) {
  if constexpr (kIsFloat<V>)
    return polynomial<V>(r, 0x1.fffffcp-2f, 0x1.555494p-3f, 0x1.55588ep-5f, 0x1.123ap-7f, 0x1.6a9af4p-10f);
  else
    return polynomial<V>(r, 0x1p-1, 0x1.555555555555dp-3, 0x1.555555555556cp-5, 0x1.111111110e54ap-7,
                         0x1.6c16c16c0a406p-10, 0x1.a01a01b5f45bfp-13, 0x1.a01a01e8be3bep-16, 0x1.71ddeaad44d81p-19,
                         0x1.27e44a2dd0c4cp-22, 0x1.af7448fdcafb9p-26, 0x1.20516e4e14f78p-29);
}
template <Real V>
PF_INLINE V exp_reduced(V r) {
  const V one = splat<V>(1);
  return fma(fma(exp_tail(r), r, one), r, one);
}

// x = n ln(2) + r, n an integer. shifted holds n + the exponent bias in its low bits.
template <Real V>
struct ExpReduction {
  V shifted, n, r;
  PF_INLINE explicit ExpReduction(V x) {
    using K = ExpConstants<Element<V>>;
    const V magic = splat<V>(K::magic + Element<V>(K::bias));
    shifted = fma(x, splat<V>(K::log2_e), magic);
    n = shifted - magic;
    r = fma(n, splat<V>(-K::ln2_low), fma(n, splat<V>(-K::ln2_high), x));
  }
  // 2^n where n + bias is 0 ... 2 bias; 0 for n + bias = 0.
  PF_INLINE V power() const { return bits_left<ExpConstants<Element<V>>::mantissa_bits>(shifted); }
};

// y 2^n rounded once, for |y| in [1/2, 2] and |n| < 2 bias - 2: n = n/2 + (n - n/2) makes both factors normal.
template <Real V>
PF_INLINE V scale(V y, const ExpReduction<V>& e) {
  using K = ExpConstants<Element<V>>;
  const V both = bits_add(e.shifted, splat_bits<V>(K::bias));
  const V half = bits_right<1>(both);
  const V rest = bits_subtract(both, half);
  return (y * bits_left<K::mantissa_bits>(half)) * bits_left<K::mantissa_bits>(rest);
}
#if defined(__AVX512F__)
PF_INLINE Vec<float> scale(Vec<float> y, const ExpReduction<Vec<float>>& e) { return {_mm512_scalef_ps(y.r, e.n.r)}; }
PF_INLINE Vec<double> scale(Vec<double> y, const ExpReduction<Vec<double>>& e) {
  return {_mm512_scalef_pd(y.r, e.n.r)};
}
#endif

// e^x. At most 1 ulp wrong.
template <Real V>
PF_INLINE V exp(V x) {
  using K = ExpConstants<Element<V>>;
  const ExpReduction<V> e(max(splat<V>(K::low), min(splat<V>(K::high), x)));
  return scale(exp_reduced(e.r), e);
}

// e^x for x <= 88 (float), 709 (double), as softmax needs it: the bits of exp(x), but 0 where e^x < 2^-126.5
// (2^-1022.5), about x < -87.7 (-708.7).
template <Real V>
PF_INLINE V exp_flush(V x) {
  using K = ExpConstants<Element<V>>;
  const ExpReduction<V> e(max(splat<V>(K::flush_low), x));
  return exp_reduced(e.r) * e.power();
}

// ---- log ------------------------------------------------------------------------------------------------------

template <class T>
struct LogConstants;
template <>
struct LogConstants<float> {
  static constexpr float min_normal = 0x1p-126f, up = 0x1p24f, up_exponent = 24;
  static constexpr uint32_t sqrt_half = 0x3f3504f3, one = 0x3f800000, mantissa = 0x007fffff;
};
template <>
struct LogConstants<double> {
  static constexpr double min_normal = 0x1p-1022, up = 0x1p54, up_exponent = 54;
  static constexpr uint64_t sqrt_half = 0x3fe6a09e667f3bcd, one = 0x3ff0000000000000, mantissa = 0x000fffffffffffff;
};

// x = 2^e (1 + f) with sqrt(1/2) <= 1 + f < sqrt(2), for 0 < x < infinity; some finite e and f for any other x.
template <Real V>
struct LogReduction {
  V e, f;
  PF_INLINE explicit LogReduction(V x) {
    using T = Element<V>;
    using K = LogConstants<T>;
    constexpr T offset = kFirstIntegerOnly<T> + T(ExpConstants<T>::bias);
    const auto tiny = x < splat<V>(K::min_normal);
    const V y = select(tiny, x * splat<V>(K::up), x);
    const V shifted = bits_add(y, splat_bits<V>(K::one - K::sqrt_half));
    const V biased = bits_or(bits_right<ExpConstants<T>::mantissa_bits>(shifted), splat<V>(kFirstIntegerOnly<T>));
    e = biased - select(tiny, splat<V>(offset + K::up_exponent), splat<V>(offset));
    f = bits_add(bits_and(shifted, splat_bits<V>(K::mantissa)), splat_bits<V>(K::sqrt_half)) - splat<V>(1);
  }
};

// The natural logarithm. At most 1 ulp wrong. log(0) = -infinity, log(x < 0) = NaN.
template <Real V>
PF_INLINE V log(V x) {
  using T = Element<V>;
  using K = ExpConstants<T>;
  const LogReduction<V> l(x);
  const V f = l.f, z = f * f;
  V y;
  if constexpr (kIsFloat<V>) {
    // (log(1 + f) - f + f^2/2) / f^3 on [sqrt(1/2) - 1, sqrt(2) - 1]: 2^-26.9 of log(1 + f)
    const V p = polynomial<V>(f, 0x1.555554p-2f, -0x1.000294p-2f, 0x1.99a13p-3f, -0x1.54577ep-3f, 0x1.22ac4ap-3f,
                              -0x1.0e4f2p-3f, 0x1.06f188p-3f, -0x1.38993ap-4f);
    y = f + fma(z, splat<V>(T(-0.5)), fma(l.e, splat<V>(K::ln2_low), (f * z) * p));
  } else {
    // s = f / (2 + f); (2 atanh(s) - 2 s) / s^3 in s^2 on [0, (3 - sqrt(8))^2]: 2^-59.5 of log(1 + f)
    const V s = f / (splat<V>(2) + f), s2 = s * s;
    const V p = polynomial<V>(s2, 0x1.5555555555592p-1, 0x1.999999997ff18p-2, 0x1.24924941e164p-2, 0x1.c71c521447383p-3,
                              0x1.74663ceee8e67p-3, 0x1.39a1e8b1e229ap-3, 0x1.2f03ba76796b9p-3);
    const V half_z = splat<V>(T(0.5)) * z;
    y = f - (half_z - fma(s, fma(s2, p, half_z), l.e * splat<V>(K::ln2_low)));
  }
  y = fma(l.e, splat<V>(K::ln2_high), y);
  const V infinity = splat<V>(T(__builtin_inf()));
  y = select(x < infinity, y, x);  // infinity and NaN
  return select(x > splat<V>(0), y, select(x == splat<V>(0), -infinity, splat<V>(T(__builtin_nan("")))));
}

// ---- tanh, sigmoid --------------------------------------------------------------------------------------------

// Odd: tanh(-x) = -tanh(x). At most 1.5 ulp wrong, also near 0.
template <Real V>
PF_INLINE V tanh(V x) {
  using T = Element<V>;
  using K = ExpConstants<T>;
  const V t = min(splat<V>(T(kIsFloat<V> ? 10 : 20)), abs(x)), z = t * t;  // from here on tanh rounds to 1
  V p;  // (tanh(t) / t - 1) / t^2 in t^2 on [0, 0.5625]: 2^-29.4 and 2^-59.8 of tanh
  if constexpr (kIsFloat<V>)
    p = polynomial<V>(z, -0x1.555548p-2f, 0x1.110c5ep-3f, -0x1.b905c4p-5f, 0x1.5812dep-6f, -0x1.9462ccp-8f);
  else
    p = polynomial<V>(z, -0x1.555555555554bp-2, 0x1.1111111110247p-3, -0x1.ba1ba1b92fbcfp-5, 0x1.664f4847fe2eap-6,
                      -0x1.226e2cd7507a2p-7, 0x1.d6d240efb0fefp-9, -0x1.7d8b424ccc8f5p-10, 0x1.345e0cbf653f7p-11,
                      -0x1.e7f07f4a2d0d2p-13, 0x1.59296af5ddb65p-14, -0x1.3c781be2bc84ep-16);
  const V small = fma(t * z, p, t);
  // 1 - 2w / (1 + w), w = e^(-2t). One constant for ln(2) does: w shrinks faster than the error of n ln(2) grows.
  const V magic = splat<V>(K::magic + T(K::bias)), one = splat<V>(1);
  const V u = t * splat<V>(-2);
  const V shifted = fma(u, splat<V>(K::log2_e), magic);
  const V r = fma(shifted - magic, splat<V>(-K::ln2_high), u);
  const V w = exp_reduced(r) * bits_left<K::mantissa_bits>(shifted);
  const V large = one - (w + w) / (one + w);
  return copysign(select(t < splat<V>(T(0.5625)), small, large), x);
}

// The two halves of 1 = sigmoid(x) + sigmoid(-x), each with its own relative accuracy, from one exp and one division.
template <Real V>
struct Sigmoid {
  V value, complement;
  PF_INLINE explicit Sigmoid(V x) {
    const V z = exp(-abs(x));
    const V large = splat<V>(1) / (splat<V>(1) + z), small = z * large;
    const auto negative = x < splat<V>(0);
    value = select(negative, small, large);
    complement = select(negative, large, small);
  }
};

// 1 / (1 + e^-x)
template <Real V>
PF_INLINE V sigmoid(V x) {
  const V z = exp(-abs(x));
  return select(x < splat<V>(0), z, splat<V>(1)) / (splat<V>(1) + z);
}

// From here on e^-|x| is 0: held within this, a factor meets a zero as a number, and an infinity gives the limit.
template <Real V>
PF_INLINE V tail() {
  return splat<V>(Element<V>(10000));
}
template <Real V>
PF_INLINE V below_tail(V x) {  // NaN stays NaN
  return max(-tail<V>(), x);
}
template <Real V>
PF_INLINE V within_tails(V x) {
  return max(-tail<V>(), min(tail<V>(), x));
}

// x sigmoid(x)
template <Real V>
PF_INLINE V silu(V x) {
  return below_tail(x) * sigmoid(x);
}
// s + x s (1 - s), s = sigmoid(x)
template <Real V>
PF_INLINE V silu_derivative(V x) {
  const Sigmoid<V> s(x);
  return fma(within_tails(x) * s.complement, s.value, s.value);
}

// log(1 + e^x) = max(x, 0) + log(1 + z), z = e^-|x|; the log with the error of rounding u = 1 + z put back.
template <Real V>
PF_INLINE V softplus(V x) {
  const V z = exp(-abs(x));
  const V u = splat<V>(1) + z;
  const V log1p = log(u) + (z - (u - splat<V>(1))) / u;
  return max(splat<V>(0), x) + log1p;
}

// ---- erf ------------------------------------------------------------------------------------------------------

// erf(t) = base + s p(s), s = t - centre, for |t - k / 1.75| <= 0.29, k = 0 ... 7: 2^-24.3 of erf. Centres lie where
// erf is close to a float, which is base; for k = 0 base is t, for k = 7, which ends at 4, it is 1.
constexpr float kErfScale = 1.75f, kErfLast = 4.0f;
PF_TABLE float kErfCentre[8] = {
    0, 0x1.249ff8p-1f, 0x1.2492d6p0f, 0x1.b6e26cp0f, 0x1.247c4ep1f, 0x1.6db97cp1f, 0x1.b6c3fep1f, 0x1p2f};
PF_TABLE float kErfBase[8] = {
    0, 0x1.29814ep-1f, 0x1.c9b542p-1f, 0x1.f826d4p-1f, 0x1.ff5e9ep-1f, 0x1.fff904p-1f, 0x1.ffffd6p-1f, 0x1p0f};
PF_TABLE float kErfPolynomial[6][8] = {{0x1.06eba8p-3f, 0x1.a0bceap-1f, 0x1.38f8d8p-2f, 0x1.e91742p-5f, 0x1.8f4c78p-8f,
                                        0x1.510174p-12f, 0x1.2aa5bcp-17f, 0x1.109b86p-23f},
                                       {-0x1.1c54acp-20f, -0x1.dc5be6p-2f, -0x1.65af9p-2f, -0x1.a33fb6p-4f,
                                        -0x1.c83462p-7f, -0x1.e16a1ap-11f, -0x1.f61c68p-16f, -0x1.121888p-21f},
                                       {-0x1.8118c8p-2f, -0x1.8185d4p-4f, 0x1.504cf6p-3f, 0x1.8dcceep-4f,
                                        0x1.3a403ep-6f, 0x1.ad9704p-10f, 0x1.1781p-14f, 0x1.50e33ep-20f},
                                       {-0x1.dee324p-11f, 0x1.74976p-3f, 0x1.72fe94p-6f, -0x1.9248e2p-5f,
                                        -0x1.1b189p-6f, -0x1.0b28cap-9f, -0x1.00193ep-13f, -0x1.95a8b4p-19f},
                                       {0x1.e91484p-4f, -0x1.867726p-7f, -0x1.de3128p-5f, 0x1.e1b11p-9f, 0x1.46b6d6p-7f,
                                        0x1.f6407cp-10f, 0x1.109b1p-13f, 0x1.989884p-21f},
                                       {-0x1.612efap-6f, -0x1.71412ap-5f, 0x1.fc2166p-7f, 0x1.5aaa5ap-7f,
                                        -0x1.79a926p-9f, -0x1.427e8ep-10f, 0x1.781f2ap-16f, -0x1.58795cp-17f}};

// Odd. At most 1.5 ulp (float), 4 ulp (double) wrong, also near 0.
template <Real V>
  requires kIsFloat<V>
PF_INLINE V erf(V x) {
  const V t = min(splat<V>(kErfLast), abs(x)), magic = splat<V>(ExpConstants<float>::magic);
  const V piece = fma(t, splat<V>(kErfScale), magic);
  const V s = t - lookup(kErfCentre, piece);
  V p = lookup(kErfPolynomial[5], piece);
#pragma GCC unroll 5
  for (int i = 4; i >= 0; --i) p = fma(p, s, lookup(kErfPolynomial[i], piece));
  return copysign(fma(s, p, select(piece == magic, t, lookup(kErfBase, piece))), x);
}
template <Real V>
PF_INLINE V erf(V x) {
  const V t = min(splat<V>(6), abs(x)), one = splat<V>(1);  // from here on erf rounds to 1
  // erf(x) / x - 1 in x^2 on [0, 1]: 2^-56.0 of erf
  const V small =
      polynomial<V>(t * t, 0x1.06eba8214db68p-3, -0x1.812746b03799dp-2, 0x1.ce2f21a03f8b2p-4, -0x1.b82ce311a93c8p-6,
                    0x1.565bcceecca86p-8, -0x1.c02daeb427af2p-11, 0x1.f9a2965ba94adp-14, -0x1.f4c828712ad87p-17,
                    0x1.b96b0a747b5dbp-20, -0x1.5b8a4bb59664dp-23, 0x1.d3cd0000aa1b6p-27, -0x1.a206b2baf671ap-31);
  // e^(x^2) (1 - erf(x)) in 1 / (x + 2) - 1/4 on x in [1, 6]: 2^-57.3 beside erf
  const V w = one / (t + splat<V>(2)) - splat<V>(0.25);
  const V scaled = polynomial<V>(w, 0x1.058671b52c776p-2, 0x1.b57034efd3f56p0, 0x1.eeea7dc8a790dp1, 0x1.437f0b68ccc24p2,
                                 0x1.e947158adada2p-1, -0x1.ca95ed8632e4cp2, -0x1.bc258dc5fc783p1, 0x1.016b536f2ec13p4,
                                 0x1.6d35354edad76p1, -0x1.6d826919b6c15p5, 0x1.cf704d10ae34p4, 0x1.be787b70786c8p6,
                                 -0x1.a845b9894540fp7);
  const V large = fma(-scaled, exp_flush(-(t * t)), one);
  return copysign(select(t < one, fma(small, t, t), large), x);
}

// ---- GELU -----------------------------------------------------------------------------------------------------

// x Phi(x), Phi(x) = (1 + erf(x / sqrt(2))) / 2
template <Real V>
PF_INLINE V gelu_erf(V x) {
  const V half = splat<V>(Element<V>(0.5)) * below_tail(x);
  return fma(half, erf(x * splat<V>(Element<V>(0.70710678118654752440))), half);
}
// Phi(x) + x e^(-x^2/2) / sqrt(2 pi)
template <Real V>
PF_INLINE V gelu_erf_derivative(V x) {
  using T = Element<V>;
  const V half = splat<V>(T(0.5));
  const V phi = fma(half, erf(x * splat<V>(T(0.70710678118654752440))), half);
  return fma(within_tails(x) * splat<V>(T(0.39894228040143267794)), exp_flush((x * x) * splat<V>(T(-0.5))), phi);
}

// x (1 + tanh(u)) / 2 = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3); the sigmoid keeps the left tail.
template <class T>
constexpr T kGelu = T(1.5957691216057307117);  // 2 sqrt(2/pi)
template <class T>
constexpr T kGeluCubic = T(0.044715 * 1.5957691216057307117);
template <Real V>
PF_INLINE V gelu_tanh(V x) {
  using T = Element<V>;
  return below_tail(x) * sigmoid(x * fma(x * x, splat<V>(kGeluCubic<T>), splat<V>(kGelu<T>)));
}
// The value and s + x s (1 - s) d(2u)/dx, s = sigmoid(2u). Past the bound s (1 - s) is 0 and its factor may overflow;
// the sigmoid is 0 or 1 there, so the value has the bits of gelu_tanh.
template <Real V>
PF_INLINE void gelu_tanh_with_derivative(V x, V* value, V* derivative) {
  using T = Element<V>;
  const V bound = splat<V>(T(kIsFloat<V> ? 12 : 24));
  const V t = max(-bound, min(bound, x));
  const V square = t * t;
  const V u = t * fma(square, splat<V>(kGeluCubic<T>), splat<V>(kGelu<T>));
  const V slope = t * fma(square, splat<V>(T(3) * kGeluCubic<T>), splat<V>(kGelu<T>));
  const Sigmoid<V> s(u);
  *value = below_tail(x) * sigmoid(u);
  *derivative = fma(slope * s.complement, s.value, s.value);
}
template <Real V>
PF_INLINE V gelu_tanh_derivative(V x) {
  V value, derivative;
  gelu_tanh_with_derivative(x, &value, &derivative);
  return derivative;
}

// ---- sin, cos -------------------------------------------------------------------------------------------------

template <class T>
struct SinConstants;
template <>
struct SinConstants<float> {
  static constexpr float two_over_pi = 0x1.45f306p-1f, limit = 0x1p21f;
  static constexpr float a = 0x1.921fb6p0f, b = -0x1.777a5cp-25f, c = -0x1.ee59dap-50f;  // a + b + c = pi/2
};
template <>
struct SinConstants<double> {
  static constexpr double two_over_pi = 0x1.45f306dc9c883p-1, limit = 0x1p48;
  static constexpr double a = 0x1.921fb54442d18p0, b = 0x1.1a62633145c07p-54, c = -0x1.f1976b7ed8fb8p-110;
};

template <Real V>
struct SinCos {
  V sin, cos;
};

// 2/pi after 64 zeros: bit i of the table, from the top of its first word on, weighs 2^(63 - i).
PF_TABLE uint64_t kTwoOverPi[20] = {0,
                                    0xa2f9836e4e441529,
                                    0xfc2757d1f534ddc0,
                                    0xdb6295993c439041,
                                    0xfe5163abdebbc561,
                                    0xb7246e3a424dd2e0,
                                    0x06492eea09d1921c,
                                    0xfe1deb1cb129a73e,
                                    0xe88235f52ebb4484,
                                    0xe99c7026b45f7e41,
                                    0x3991d639835339f4,
                                    0x9c845f8bbdf9283b,
                                    0x1ff897ffde05980f,
                                    0xef2f118b5a0a6d1f,
                                    0x6d367ecf27cb09b7,
                                    0x4f463f669e5fea2d,
                                    0x7527bac7ebe5f17b,
                                    0x3d0739f78a5292ea,
                                    0x6bfb5fb11f8d5d08,
                                    0x56033046fc7b6bab};

struct ReducedAngle {
  double r;           // t - n pi/2, |r| <= pi/4, within 1 ulp
  uint64_t quadrant;  // n modulo 4
};

// For finite t >= 4. t = m 2^e is multiplied with the 192 bits of 2/pi that matter: those above give multiples of 4 n,
// those below less than 2^-137. Source: Payne, Hanek 1983, "Radian Reduction for Trigonometric Functions".
PF_NOINLINE ReducedAngle reduce_large(double t) {
  const uint64_t m = (to_bits(t) & LogConstants<double>::mantissa) | (uint64_t(1) << 52);
  const int first = int(to_bits(t) >> 52) - 1075 + 62, shift = first % 64;
  const uint64_t* word = kTwoOverPi + first / 64;
  const auto window = [&](int i) { return shift ? word[i] << shift | word[i + 1] >> (64 - shift) : word[i]; };
  const auto low = (unsigned __int128)m * window(2);
  const auto middle = (unsigned __int128)m * window(1) + uint64_t(low >> 64);
  const uint64_t p2 = m * window(0) + uint64_t(middle >> 64), p1 = uint64_t(middle), p0 = uint64_t(low);
  // The product is n in two bits and a fraction, of which 128 bits f are kept; from 1/2 on it counts as f - 1.
  uint64_t f1 = p2 << 2 | p1 >> 62, f0 = p1 << 2 | p0 >> 62;
  const bool negative = f1 >> 63;
  if (negative) {
    f0 = ~f0 + 1;
    f1 = ~f1 + (f0 == 0);
  }
  const int zeros = leading_zeros(f1 | 1);
  if (zeros) f1 = f1 << zeros | f0 >> (64 - zeros), f0 <<= zeros;
  const double high = double(int64_t(f1 >> 11));
  const double rest = double(int64_t((f1 & 0x7ff) << 42 | f0 >> 22)) * 0x1p-53;
  using K = SinConstants<double>;
  const double r = fma(high, K::a, fma(high, K::b, rest * K::a)) * from_bits(uint64_t(1023 - 53 - zeros) << 52);
  return {negative ? -r : r, (p2 >> 62) + negative};
}

// r and quadrant of the elements of t from the limit on, one by one.
template <Real V>
PF_INLINE void reduce_large_elements(V t, V& r, V& quadrant) {
  using T = Element<V>;
  constexpr int n = int(sizeof(V) / sizeof(T));
  T angle[n], reduced[n], turns[n];
  __builtin_memcpy(angle, &t, sizeof t);
  __builtin_memcpy(reduced, &r, sizeof r);
  __builtin_memcpy(turns, &quadrant, sizeof quadrant);
  for (int i = 0; i < n; ++i) {
    if (!(angle[i] >= SinConstants<T>::limit && angle[i] < T(__builtin_inf()))) continue;
    const ReducedAngle large = reduce_large(double(angle[i]));
    reduced[i] = T(large.r);
    turns[i] = from_bits(Bits<T>(large.quadrant));
  }
  __builtin_memcpy(&r, reduced, sizeof r);
  __builtin_memcpy(&quadrant, turns, sizeof quadrant);
}

// Both at most 2 ulp wrong; NaN at infinity. For |x| < 2^21 (float), 2^48 (double) x - n pi/2 takes three FMAs, the
// first exact; larger x are reduced one by one.
template <Real V>
PF_INLINE SinCos<V> sincos(V x) {
  using T = Element<V>;
  using K = SinConstants<T>;
  const V t = abs(x), magic = splat<V>(ExpConstants<T>::magic);
  const V shifted = fma(t, splat<V>(K::two_over_pi), magic);
  const V n = shifted - magic;
  const V reduced = fma(n, splat<V>(-K::c), fma(n, splat<V>(-K::b), fma(n, splat<V>(-K::a), t)));
  const auto in_range = t < splat<V>(K::limit);
  V r = select(in_range, reduced, t * splat<V>(0));
  V quadrant = select(in_range, shifted, splat<V>(0));
  if (__builtin_expect(any(mask_not(in_range)), 0)) reduce_large_elements(t, r, quadrant);
  const V z = r * r;
  // In r^2: (sin(r) - r) / r^3, 2^-32.0 and 2^-57.9 of sin; (cos(r) - 1 + r^2/2) / r^4, 2^-30.9 and 2^-63.9 of cos.
  // For |r| <= 0.9 (float), as n is off by up to 0.04 for the largest x, and for |r| <= pi/4 (double).
  V s, c;
  if constexpr (kIsFloat<V>) {
    s = polynomial<V>(z, -0x1.555556p-3f, 0x1.111156p-7f, -0x1.a035bcp-13f, 0x1.7276eap-19f);
    c = polynomial<V>(z, 0x1.55553cp-5f, -0x1.6c04ap-10f, 0x1.980092p-16f);
  } else {
    s = polynomial<V>(z, -0x1.5555555555548p-3, 0x1.111111110f73p-7, -0x1.a01a019be921bp-13, 0x1.71de35552ba89p-19,
                      -0x1.ae5e4b84330c8p-26, 0x1.5d8b55ad6d3f6p-33);
    c = polynomial<V>(z, 0x1.555555555554bp-5, -0x1.6c16c16c15011p-10, 0x1.a01a019c8e7b5p-16, -0x1.27e4f7f0f055ap-22,
                      0x1.1ee9db4cdfb9bp-29, -0x1.8fa638413332ap-37);
  }
  const V sine = fma(r * z, s, r);
  const V cosine = fma(z * z, c, fma(z, splat<V>(T(-0.5)), splat<V>(1)));
  // Quadrants 0 1 2 3: sin is s c -s -c, cos is c -s -c s.
  constexpr int to_sign = int(8 * sizeof(T)) - 2;
  const auto odd = bits_test(quadrant, 1);
  const V next = bits_add(quadrant, splat_bits<V>(1));
  const V sin_sign = bits_xor(bits_and(bits_left<to_sign>(quadrant), sign_bit<V>()), bits_and(x, sign_bit<V>()));
  const V cos_sign = bits_and(bits_left<to_sign>(next), sign_bit<V>());
  return {bits_xor(select(odd, cosine, sine), sin_sign), bits_xor(select(odd, sine, cosine), cos_sign)};
}
template <Real V>
PF_INLINE V sin(V x) {
  return sincos(x).sin;
}
template <Real V>
PF_INLINE V cos(V x) {
  return sincos(x).cos;
}

// ---- pow ------------------------------------------------------------------------------------------------------

template <Real V>
struct HighLow {
  V high, low;
};

// log(x) for 0 < x < infinity as a sum of two, about 12 bits better than one V.
template <Real V>
PF_INLINE HighLow<V> log_extended(V x) {
  using T = Element<V>;
  using K = ExpConstants<T>;
  const LogReduction<V> l(x);
  // s = f / (2 + f), z = s^2, cube = s^3, third = 2/3 s^3, each high + low
  const V two = splat<V>(2);
  const V d = two + l.f, d_low = l.f - (d - two);
  const V s = l.f / d, s_low = (fma(-s, d, l.f) - s * d_low) / d;
  const V z = s * s, z_low = fma(s + s, s_low, fma(s, s, -z));
  const V cube = s * z, cube_low = fma(s_low, z, fma(s, z_low, fma(s, z, -cube)));
  const V two_thirds = splat<V>(T(kIsFloat<V> ? 0x1.555556p-1 : 0x1.5555555555555p-1));
  const V two_thirds_low = splat<V>(T(kIsFloat<V> ? -0x1.555556p-26 : 0x1.5555555555555p-55));
  const V third = cube * two_thirds;
  const V third_low = fma(cube_low, two_thirds, fma(cube, two_thirds_low, fma(cube, two_thirds, -third)));
  // (2 atanh(s) - 2 s - 2/3 s^3) / s^5 in s^2 on [0, (3 - sqrt(8))^2]: 2^-36.8 and 2^-66.3 of log(1 + f)
  V p;
  if constexpr (kIsFloat<V>)
    p = polynomial<V>(z, 0x1.999ap-2f, 0x1.24527cp-2f, 0x1.dfa252p-3f);
  else
    p = polynomial<V>(z, 0x1.9999999999b3p-2, 0x1.2492492457d7p-2, 0x1.c71c722d6436ep-3, 0x1.745ce9e430e5dp-3,
                      0x1.3b1eebe1ecc41p-3, 0x1.0f7fed7e40b2cp-3, 0x1.0e4287507dc5ap-3);
  // e ln(2) + 2 s + third, exactly but for the last low parts
  const V ln2 = splat<V>(K::ln2_high);
  const V base = l.e * ln2, base_low = fma(l.e, splat<V>(K::ln2_low), fma(l.e, ln2, -base));
  const V s2 = s + s;
  const V a = base + s2, a_s2 = a - base, a_low = (base - (a - a_s2)) + (s2 - a_s2);
  const V b = a + third, b_low = third - (b - a);
  const V low = a_low + (b_low + (base_low + fma(two, s_low, fma(cube * z, p, third_low))));
  const V high = b + low;
  return {high, low - (high - b)};
}

// x^y at most 2 ulp wrong, special values as in C and NumPy: x^0 = 1^y = 1 for every x and y, (-1)^(+-infinity) = 1,
// NaN for a finite negative x and y that is no integer, the sign of x for odd y.
template <Real V>
PF_INLINE V pow(V x, V y) {
  using T = Element<V>;
  using K = ExpConstants<T>;
  const V a = abs(x), zero = splat<V>(0), one = splat<V>(1), infinity = splat<V>(T(__builtin_inf()));
  const HighLow<V> l = log_extended(a);
  const V log_high = select(a == zero, -infinity, select(a < infinity, l.high, a));
  const V high = y * log_high;
  const V low = fma(y, l.low, fma(y, l.high, -high));
  const V bounded = max(splat<V>(K::low), min(splat<V>(K::high), high));
  const ExpReduction<V> e(bounded);
  const V r = e.r + select(high == bounded, low, zero);
  V power = scale(exp_reduced(r), e);

  const auto integer = round_to_int(y) == y;
  const V half = y * splat<V>(T(0.5));
  const auto odd = mask_and(integer, round_to_int(half) != half);
  power = select(odd, copysign(power, x), power);
  const auto undefined = mask_and(mask_and(x<zero, x> - infinity), mask_not(integer));
  power = select(undefined, splat<V>(T(__builtin_nan(""))), power);
  const auto is_one = mask_or(mask_or(y == zero, x == one), mask_and(x == -one, abs(y) == infinity));
  return select(is_one, one, power);
}

#if !defined(PF_CUDA)
// ---- on Lanes -------------------------------------------------------------------------------------------------

#define PF_ON_LANES(name)                                     \
  template <class T>                                          \
  PF_INLINE Lanes<T> name(const Lanes<T>& x) {                \
    return each([](Vec<T> v) { return PF_ISA::name(v); }, x); \
  }
PF_ON_LANES(exp)
PF_ON_LANES(exp_flush)
PF_ON_LANES(log)
PF_ON_LANES(tanh)
PF_ON_LANES(sigmoid)
PF_ON_LANES(silu)
PF_ON_LANES(silu_derivative)
PF_ON_LANES(softplus)
PF_ON_LANES(erf)
PF_ON_LANES(gelu_erf)
PF_ON_LANES(gelu_erf_derivative)
PF_ON_LANES(gelu_tanh)
PF_ON_LANES(gelu_tanh_derivative)
PF_ON_LANES(sin)
PF_ON_LANES(cos)
#undef PF_ON_LANES
template <class T>
PF_INLINE Lanes<T> pow(const Lanes<T>& x, const Lanes<T>& y) {
  return each([](Vec<T> a, Vec<T> b) { return PF_ISA::pow(a, b); }, x, y);
}
#endif

}  // namespace pyformer::PF_ISA
