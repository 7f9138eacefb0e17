#include "pyformer/cuda/tensor_core.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "pyformer/cuda/emulated.h"

namespace pyformer::emulated {

namespace {

constexpr int kExponentOfZero = -126;

// The exponent of x, a number of a type whose smallest exponent is `least`, which subnormals have, too.
int exponent_of(float x, int least) {
  const int biased = int(std::bit_cast<uint32_t>(x) >> 23 & 0xff);
  return x == 0 ? kExponentOfZero : std::max(biased - 127, least);
}

double power_of_2(int exponent) { return std::bit_cast<double>(uint64_t(1023 + exponent) << 52); }

// x rounded to float32 toward zero.
float truncated(double x) {
  if (std::fabs(x) >= 0x1p128) return x > 0 ? INFINITY : -INFINITY;
  const float nearest = float(x);
  if (std::fabs(double(nearest)) <= std::fabs(x)) return nearest;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(nearest) - 1);
}

double plain_sum(const Factors& a, const Factors& b, int first, int count, float c) {
  double sum = c;
  for (int k = first; k < first + count; ++k) sum += a.value[k] * b.value[k];
  return sum;
}

template <int count>
float step(const Factors& a, const Factors& b, int first, float c, int fraction) {
  if (const double plain = plain_sum(a, b, first, count, c); !std::isfinite(plain))
    return std::isnan(plain) ? std::bit_cast<float>(0x7fffffffu) : float(plain);
  int most = exponent_of(c, -126);
  for (int k = first; k < first + count; ++k) most = std::max(most, a.exponent[k] + b.exponent[k]);
  const double scale = power_of_2(fraction - most);
  int64_t sum = int32_t(double(c) * scale);
  for (int k = first; k < first + count; ++k) sum += int32_t(a.value[k] * b.value[k] * scale);
  return truncated(double(sum) * power_of_2(most - fraction));
}

template <int count>
float dot(const Factors& a, const Factors& b, float c) {
  if (settings.tensor_core == TensorCore::plain) return float(plain_sum(a, b, 0, count, c));
  if (settings.tensor_core == TensorCore::hopper) return step<count>(a, b, 0, c, 25);
  return step<count / 2>(a, b, count / 2, step<count / 2>(a, b, 0, c, 24), 24);
}

void set_factor(Factors& f, int k, float x, int least) {
  f.value[k] = x;
  f.exponent[k] = exponent_of(x, least);
}

}  // namespace

void Factors::set(int k, BFloat16 x) { set_factor(*this, k, to_float(x), -126); }
void Factors::set(int k, Float16 x) { set_factor(*this, k, to_float(x), -14); }
void Factors::set_tf32(int k, float x) { set_factor(*this, k, float_of_bits(float_bits(x) & ~0x1fffu), -126); }

float tensor_core_dot(const Factors& a, const Factors& b, int count, float c) {
  if (count == 16) return dot<16>(a, b, c);
  if (count == 8) return dot<8>(a, b, c);
  return dot<4>(a, b, c);
}

}  // namespace pyformer::emulated
