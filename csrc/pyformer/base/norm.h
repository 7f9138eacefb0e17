// Statistics of rows, for norms. A row is first taken as it is; only if its sum of squares leaves the range of T are
// its sums taken again in units of a power of two.
#pragma once
#include "pyformer/base/norm_row.h"
#if defined(PF_CUDA)
#include "pyformer/base/math.h"
#else
#include "pyformer/base/reduce.h"
#endif

namespace pyformer::PF_ISA {

// From the least on, sums of squares have all their bits: the squares that are below normal numbers do not count.
template <class T>
constexpr T kLeastSquare = 0x1p-100f;
template <>
constexpr double kLeastSquare<double> = 0x1p-960;
template <class T>
PF_INLINE bool has_all_bits(T square) {
  return square >= kLeastSquare<T> && square < T(__builtin_inf());  // not NaN either
}

// The power of two that brings x >= 0 into [1, 2), as far as normal numbers do; 1 for 0.
template <class T>
PF_INLINE T scale_for(T x) {
  constexpr int mantissa = sizeof(T) == 4 ? 23 : 52, greatest = sizeof(T) == 4 ? 253 : 2045;
  if (x == T(0)) return T(1);
  const int exponent = int(to_bits(x) >> mantissa & uint64_t(greatest + 2)), wanted = greatest + 1 - exponent;
  return from_bits(Bits<T>(wanted < 1 ? 1 : wanted > greatest ? greatest : wanted) << mantissa);
}

#if !defined(PF_CUDA)
// The largest |x(i) - origin|, NaN aside.
template <class T, class X>
T row_largest(int64_t n, T origin, const X& x) {
  T largest = T(0);
  for (int64_t i = 0; i < n; ++i) largest = max(abs(x(i) - origin), largest);
  return largest;
}
template <class T>
T lanes_largest(const T* x, int64_t n, T origin) {
  Lanes<T> largest = Lanes<T>::zero();
  for (int64_t i = 0; i < n; i += kLanes) {
    const Lanes<T> v = Lanes<T>::load_partial(x + i, n - i < kLanes ? n - i : kLanes, origin);
    largest = max(abs(v - Lanes<T>::broadcast(origin)), largest);
  }
  return max_lanes(largest);
}

// sum of (x * scale)^2
template <class T>
T sum_squares(const T* x, int64_t n, T scale) {
  if (__builtin_expect(scale == T(1), 1))
    return lanes_reduce<T>(n, [&](int64_t i, int64_t part, const Lanes<T>& sum) {
      const Lanes<T> v = load_lanes(x + i, part);
      return fma(v, v, sum);
    });
  const Lanes<T> scales = Lanes<T>::broadcast(scale);
  return lanes_reduce<T>(n, [&](int64_t i, int64_t part, const Lanes<T>& sum) {
    const Lanes<T> v = load_lanes(x + i, part) * scales;
    return fma(v, v, sum);
  });
}
#endif

// 1 / sqrt(square) for a norm; NaN where square is infinite, so that such a row does not pass as zeros.
template <class T>
PF_INLINE T reciprocal_root(T square) {
  return T(1) / sqrt(square) + square * T(0);
}

template <class T>
struct RowStatistics {
  NormRow<T> row;
  T var;     // in units of scale^2
  T square;  // var + eps, likewise
};

// From the mean of a row, the means of d = x * scale - mean and of d^2. Where d is small beside x, mean is wrong by a
// rounding of x: the mean of d puts it right.
template <class T>
PF_INLINE RowStatistics<T> row_statistics(T scale, T mean, T rest, T mean_square, double eps) {
  const T var = fma(-rest, rest, mean_square), square = var + T(eps * double(scale) * double(scale));
  const T rstd = reciprocal_root(square), corrected = mean + rest, low = rest - (corrected - mean);
  return {{scale, corrected, rstd, -(low * rstd)}, var, square};
}

// The statistics of a row that is scaled by its mean square alone.
template <class T>
PF_INLINE RowStatistics<T> rms_statistics(T scale, T mean_square, double eps) {
  const T square = mean_square + T(eps * double(scale) * double(scale));
  return {{scale, T(0), reciprocal_root(square), T(-0.0)}, mean_square, square};
}

// The statistics of a row in units in which its squares fit: take(1), or take(scale) where take(1) has lost bits. The
// scale follows from largest(), the greatest magnitude among the numbers whose squares are added. If these numbers are
// all 0, take(1) has lost nothing, and any scale could make the row's mean overflow.
template <class T, class Take, class Largest>
PF_INLINE RowStatistics<T> in_fitting_units(double eps, const Take& take, const Largest& largest) {
  const RowStatistics<T> plain = take(T(1));
  if (__builtin_expect(has_all_bits(plain.square), 1)) return plain;
  const T greatest = largest();
  return greatest == T(0) ? plain : take(scale_for(max(greatest, T(sqrt(eps)))));
}

// How much of the formula of NormRow a row needs; what is left out would not change its bits.
enum class NormForm { rms, centred, scaled };

// x to xhat: V is a scalar, Vec or Lanes.
template <class V, NormForm form = NormForm::scaled>
struct Normalizer {
  V scale, minus_mean, rstd, shift;
  explicit PF_INLINE Normalizer(const NormRow<Element<V>>& row)
      : scale(splat<V>(row.scale)),
        minus_mean(splat<V>(-row.mean)),
        rstd(splat<V>(row.rstd)),
        shift(splat<V>(row.shift)) {}
  PF_INLINE V operator()(const V& x) const {
    if constexpr (form == NormForm::rms)
      return x * rstd;
    else if constexpr (form == NormForm::centred)
      return fma(x + minus_mean, rstd, shift);
    else
      return fma(fma(x, scale, minus_mean), rstd, shift);
  }
  // dx from g, the gradient of xhat, and the means of g and g * xhat over the row.
  PF_INLINE V gradient(const V& g, const V& mean_g, const V& xhat, const V& mean_gx) const {
    return gradient(g - mean_g, xhat, mean_gx);
  }
  // The same from g that has its mean taken off, or whose mean does not matter (rms).
  PF_INLINE V gradient(const V& g, const V& xhat, const V& mean_gx) const {
    const V dx = rstd * fma(-xhat, mean_gx, g);
    if constexpr (form == NormForm::scaled) return dx * scale;
    return dx;
  }
};

// Calls use.operator()<form>() with the form that the row needs: `usual`, or `scaled` for a row in units.
template <NormForm usual, class T, class Use>
PF_INLINE void with_form(const NormRow<T>& row, const Use& use) {
  if (__builtin_expect(row.scale == T(1), 1))
    use.template operator()<usual>();
  else
    use.template operator()<NormForm::scaled>();
}

}  // namespace pyformer::PF_ISA
