// The elementary functions and random numbers of kernels: accuracy against long double, special values, and the same
// bits as a scalar and in a register of every instruction set.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <random>
#include <vector>

#include "check.h"
#include "math_functions.h"
#include "pyformer/base/isa.h"

using namespace pyformer;
using Real = long double;

// What a function must give, and how far off it may be: `ulps` of the result plus `absolute` epsilons of (1 + |x|).
struct Expected {
  std::function<Real(Real)> value;
  double ulps_f32, ulps_f64, absolute;
};

static Real normal_cdf(Real x) { return erfcl(-x * sqrtl(0.5L)) / 2; }
static Real logistic(Real x) { return 1 / (1 + expl(-x)); }
static Real gelu_inner(Real x) { return 2 * sqrtl(2 / acosl(-1)) * (x + 0.044715L * x * x * x); }

static const std::map<std::string, Expected> kExpected = {
    {"exp", {[](Real x) { return expl(x); }, 1, 1, 0}},
    {"log", {[](Real x) { return logl(x); }, 1, 1.5, 0}},
    {"tanh", {[](Real x) { return tanhl(x); }, 2, 2, 0}},
    {"erf", {[](Real x) { return erfl(x); }, 2, 2, 0}},
    {"sin", {[](Real x) { return sinl(x); }, 2, 2, 0}},
    {"cos", {[](Real x) { return cosl(x); }, 2, 2, 0}},
    {"sigmoid", {logistic, 2.5, 2.5, 0}},
    {"silu", {[](Real x) { return x * logistic(x); }, 3, 3, 0}},
    {"silu_derivative", {[](Real x) { return logistic(x) * (1 + x * logistic(-x)); }, 2, 2, 1}},
    {"softplus", {[](Real x) { return x > 0 ? x + log1pl(expl(-x)) : log1pl(expl(x)); }, 3, 3, 0}},
    {"gelu_erf", {[](Real x) { return x * normal_cdf(x); }, 2, 2, 0.5}},
    {"gelu_tanh", {[](Real x) { return x * logistic(gelu_inner(x)); }, 2, 2, 0.5}},
    {"gelu_erf_derivative",
     {[](Real x) { return normal_cdf(x) + x * expl(-x * x / 2) / sqrtl(2 * acosl(-1)); }, 2, 2, 0.5}},
    {"gelu_tanh_derivative",
     {[](Real x) {
        const Real slope = 2 * sqrtl(2 / acosl(-1)) * (1 + 3 * 0.044715L * x * x);
        const Real s = logistic(gelu_inner(x)), c = logistic(-gelu_inner(x));
        return s + (c == 0 || s == 0 ? 0 : x * slope * s * c);
      },
      2, 2, 1}},
};

// expect() whose message is put together only where it is needed: there are millions of checks here.
template <class... Parts>
static void check(bool condition, const Parts&... parts) {
  if (!condition) throw std::runtime_error(cat(parts...));
}

template <class T>
struct Bits;
template <>
struct Bits<float> {
  using type = uint32_t;
};
template <>
struct Bits<double> {
  using type = uint64_t;
};

template <class T>
static bool same_bits(T a, T b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0 || (std::isnan(a) && std::isnan(b));
}

template <class T>
static Real ulp_of(Real value) {
  int exponent = 0;
  std::frexp(value, &exponent);
  using L = std::numeric_limits<T>;
  return std::ldexp(Real(1), std::max(exponent, L::min_exponent) - L::digits);
}

// Every set that this CPU can run; ref first.
static std::vector<std::pair<const char*, const MathFunctions*>> sets() {
  std::vector<std::pair<const char*, const MathFunctions*>> out;
  const auto add = [&](Isa isa, const MathFunctions& f) {
    if (is_supported(isa)) out.push_back({name(isa), &f});
  };
  add(Isa::ref, math_functions<Isa::ref>());
#if defined(PF_BUILT_PORTABLE)
  add(Isa::portable, math_functions<Isa::portable>());
#endif
#if defined(PF_BUILT_X86)
  add(Isa::avx2, math_functions<Isa::avx2>());
  add(Isa::avx512, math_functions<Isa::avx512>());
#endif
  return out;
}

template <class T>
static const MathCases<T>& cases(const MathFunctions& f) {
  if constexpr (sizeof(T) == 4)
    return f.f32;
  else
    return f.f64;
}

// Every step-th bit pattern, and a fine sweep of [-20, 20]; the number is a multiple of 16.
template <class T>
static std::vector<T> sweep(uint32_t step) {
  std::vector<T> x;
  for (uint64_t high = 0; high < uint64_t(1) << 32; high += step) {
    const typename Bits<T>::type b = sizeof(T) == 4 ? high : typename Bits<T>::type(high * 0x100000001ull);
    T value;
    std::memcpy(&value, &b, sizeof value);
    x.push_back(value);
  }
  const int64_t fine = int64_t((uint64_t(1) << 32) / step);
  for (int64_t i = -fine; i <= fine; ++i) x.push_back(T(i) * T(20) / T(fine));
  for (T special :
       {T(0), T(-0.0), T(1), T(-1), T(88.7228), T(-87.5), T(-103.97), T(709.78), T(-745.1), T(1e5), T(-1e5), T(9999),
        T(-9999), T(10001), T(-10001), std::numeric_limits<T>::infinity(), -std::numeric_limits<T>::infinity()})
    x.push_back(special);
  while (x.size() % kLanes) x.push_back(T(1));
  return x;
}

template <class T>
static void check_value(const std::string& function, T x, T y, bool strict, Real& worst) {
  const Expected& e = kExpected.at(function);
  if (std::isnan(x)) return check(std::isnan(y), function, "(NaN) = ", y);
  if (std::isinf(x) && (function.find("gelu") == 0 || function.find("silu") == 0)) {  // the limit, no infinity times 0
    const bool is_slope = function.find("derivative") != std::string::npos;
    const T limit = x < 0 ? T(0) : is_slope ? T(1) : x;
    return check(y == limit, function, "(", x, ") = ", y, ", not ", limit);
  }
  const Real t = e.value(x);
  if (std::isnan(t)) return check(std::isnan(y), function, "(", x, ") = ", y, ", not NaN");
  const Real half_past = ulp_of<T>(std::numeric_limits<T>::max()) / 2;
  if (std::abs(t) >= Real(std::numeric_limits<T>::max()) + half_past)
    return check(std::isinf(y) && (y > 0) == (t > 0), function, "(", x, ") = ", y, ", not infinite");
  const Real magnitude = std::abs(Real(x));
  const Real slack =
      Real(e.absolute) * std::numeric_limits<T>::epsilon() * std::min<Real>(1 + magnitude, 16) +
      (function == "silu" ? magnitude * std::numeric_limits<T>::denorm_min() : 0);  // sigmoid is denormal
  const Real error = std::max<Real>(0, std::abs(Real(y) - t) - slack) / ulp_of<T>(t);
  const double bound = sizeof(T) == 4 ? e.ulps_f32 : e.ulps_f64;
  check(!strict || error <= bound, function, "(", x, ") = ", y, " for ", double(t), ": ", double(error), " ulp");
  worst = std::max(worst, error);
}

// exp_flush has the bits of exp up to 88 (709), or 0 where exp is below the normal numbers.
template <class T>
static void check_flush(const std::vector<T>& x, const std::vector<T>& exp, const std::vector<T>& flushed) {
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i] > T(sizeof(T) == 4 ? 88 : 709)) continue;
    const bool zero = flushed[i] == 0 && exp[i] < std::numeric_limits<T>::min();
    check(zero || same_bits(exp[i], flushed[i]), "exp_flush(", x[i], ") = ", flushed[i]);
  }
}

template <class T>
static void check_unary(uint32_t step, bool print) {
  const std::vector<T> x = sweep<T>(step);
  const auto all = sets();
  const MathCases<T>& ref = cases<T>(*all[0].second);
  std::vector<T> exp(x.size()), expected(x.size()), y(x.size());
  for (int c = 0; c < ref.count; ++c) {
    const std::string function = ref.unary[c].name;
    ref.unary[c].scalar(x.data(), expected.data(), int64_t(x.size()));
    if (function == "exp") exp = expected;
    Real worst = 0;
    if (function == "exp_flush")
      check_flush(x, exp, expected);
    else
      for (size_t i = 0; i < x.size(); ++i) check_value(function, x[i], expected[i], !print, worst);
    uint64_t hash = 0;
    for (T v : expected) {
      typename Bits<T>::type b = 0;
      if (!std::isnan(v)) std::memcpy(&b, &v, sizeof v);
      hash = (hash ^ b) * 0x100000001b3ull;
    }
    if (print)
      std::printf("%s f%d: %.3f ulp, hash %016llx\n", function.c_str(), int(8 * sizeof(T)), double(worst),
                  static_cast<unsigned long long>(hash));
    for (const auto& [set, functions] : all)
      for (const auto& run : {cases<T>(*functions).unary[c].scalar, cases<T>(*functions).unary[c].vector}) {
        run(x.data(), y.data(), int64_t(x.size()));
        for (size_t i = 0; i < x.size(); ++i)
          check(same_bits(y[i], expected[i]), function, "(", x[i], ") on ", set, " differs from ref: ", y[i]);
      }
  }
}

// Of a power near the overflow bound, the reference's own rounding may land on the other side.
template <class T>
static void check_pow_value(T x, T y, T z, Real& worst) {
  const Real t = powl(x, y);
  const std::string what = cat("pow(", x, ", ", y, ") = ", z, " for ", double(t));
  if (std::isnan(t)) return check(std::isnan(z), what);
  check(!std::isnan(z), what);
  check(std::signbit(z) == std::signbit(t), what);
  if (std::isinf(z) || std::abs(t) > Real(std::numeric_limits<T>::max()))
    return check(std::abs(t) >= Real(std::numeric_limits<T>::max()) * (1 - 4 * std::numeric_limits<T>::epsilon()) &&
                     std::abs(z) >= std::numeric_limits<T>::max() * (1 - 4 * std::numeric_limits<T>::epsilon()),
                 what);
  const Real error = std::abs(Real(z) - t) / ulp_of<T>(t);
  check(error <= 2, what, ": ", double(error), " ulp");
  worst = std::max(worst, error);
}

template <class T>
static void check_pow(int64_t count, bool print) {
  std::vector<T> x, y;
  const T infinity = std::numeric_limits<T>::infinity(), nan = std::numeric_limits<T>::quiet_NaN();
  const std::vector<T> specials = {T(0),
                                   T(-0.0),
                                   T(1),
                                   T(-1),
                                   T(2),
                                   T(-2),
                                   T(3),
                                   T(-3),
                                   T(0.5),
                                   T(-0.5),
                                   T(1.5),
                                   infinity,
                                   -infinity,
                                   nan,
                                   std::numeric_limits<T>::min(),
                                   std::numeric_limits<T>::denorm_min(),
                                   std::numeric_limits<T>::max(),
                                   -std::numeric_limits<T>::max(),
                                   T(16777215),
                                   T(16777217),
                                   T(9007199254740991.0),
                                   T(-9007199254740991.0),
                                   T(1e10)};
  for (T a : specials)
    for (T b : specials) {
      x.push_back(a);
      y.push_back(b);
    }
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> unit(-1, 1);
  for (int64_t i = 0; i < count; ++i) {
    const double base = std::exp(unit(random) * (i % 3 == 0 ? 0.01 : i % 3 == 1 ? 3 : 80));
    const double largest = (sizeof(T) == 4 ? 105.0 : 750.0) / std::max(std::abs(std::log(base)), 1e-30);
    x.push_back(T(base));
    y.push_back(T(unit(random) * largest));
  }
  while (x.size() % kLanes) x.push_back(T(1)), y.push_back(T(1));
  const auto all = sets();
  std::vector<T> expected(x.size()), z(x.size());
  cases<T>(*all[0].second).pow_scalar(x.data(), y.data(), expected.data(), int64_t(x.size()));
  Real worst = 0;
  for (size_t i = 0; i < x.size(); ++i) check_pow_value(x[i], y[i], expected[i], worst);
  if (print) std::printf("pow f%d: %.3f ulp\n", int(8 * sizeof(T)), double(worst));
  for (const auto& [set, functions] : all)
    for (const auto& run : {cases<T>(*functions).pow_scalar, cases<T>(*functions).pow_vector}) {
      run(x.data(), y.data(), z.data(), int64_t(x.size()));
      for (size_t i = 0; i < x.size(); ++i)
        check(same_bits(z[i], expected[i]), "pow(", x[i], ", ", y[i], ") on ", set, " differs from ref: ", z[i]);
    }
}

// The known answers published with the paper, counter, key, output.
static void check_philox_answers(const MathFunctions& f) {
  const uint32_t known[][10] = {{0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
                                {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x408f276d,
                                 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
                                {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09,
                                 0x94fdcceb, 0x5001e420, 0x24126ea1}};
  for (const auto& k : known) {
    uint32_t out[4];
    f.philox(k, k + 4, out);
    check(std::memcmp(out, k + 6, sizeof out) == 0, "philox: a known answer is wrong");
    const auto join = [](uint32_t low, uint32_t high) { return uint64_t(high) << 32 | low; };
    const uint64_t counter = join(k[0], k[1]);
    if (counter >> 62) continue;  // its words have no 64-bit index
    f.words(join(k[4], k[5]), join(k[2], k[3]), counter * 4, 4, out);
    check(std::memcmp(out, k + 6, sizeof out) == 0, "random_words: a known answer is wrong");
  }
}

// Words by the paper's function, and uniform numbers as philox.h says they are made of words.
static void check_layout(const MathFunctions& f) {
  const uint64_t seed = 0x123456789abcdef0, stream = 0xfedcba9876543210, begin = 0xfffffffdull;
  std::vector<uint32_t> words(200);
  f.words(seed, stream, begin * 4 - 80, 200, words.data());
  const uint32_t key[2] = {uint32_t(seed), uint32_t(seed >> 32)};
  for (size_t i = 0; i < words.size(); i += 4) {
    const uint64_t c = begin - 20 + i / 4;
    const uint32_t counter[4] = {uint32_t(c), uint32_t(c >> 32), uint32_t(stream), uint32_t(stream >> 32)};
    uint32_t expected[4];
    f.philox(counter, key, expected);
    check(std::memcmp(expected, &words[i], sizeof expected) == 0, "random_words: not the words of its counter");
  }
  std::vector<float> x(200);
  std::vector<double> y(100);
  f.f32.uniform(seed, stream, begin * 4 - 80, 200, x.data());
  f.f64.uniform(seed, stream, begin * 2 - 40, 100, y.data());
  for (size_t i = 0; i < 200; ++i) check(x[i] == float(words[i] >> 8) * 0x1p-24f, "random_uniform: float layout");
  for (size_t i = 0; i < 100; ++i) {
    const uint64_t both = uint64_t(words[2 * i + 1]) << 32 | words[2 * i];
    check(y[i] == double(both >> 11) * 0x1p-53, "random_uniform: double layout");
  }
}

// Any cut of a range gives the elements of the whole, on every set; the moments are those of the distribution.
template <class T>
static void check_random() {
  constexpr int64_t n = 1 << 18;
  const auto all = sets();
  for (const bool normal : {false, true}) {
    const auto generate = [&](const MathFunctions& f) { return normal ? cases<T>(f).normal : cases<T>(f).uniform; };
    std::vector<T> expected(n), part(100);
    generate (*all[0].second)(42, 7, 0, n, expected.data());
    double mean = 0, square = 0, fourth = 0, product = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double v = normal ? double(expected[i]) : double(expected[i]) * 2 - 1;
      mean += v / n;
      square += v * v / n;
      fourth += v * v * v * v / n;
      product += v * (normal ? double(expected[i ^ 1]) : double(expected[i ^ 1]) * 2 - 1) / n;
      check(normal ? std::abs(v) < 9 : v >= -1 && v < 1, "random: ", v, " out of range");
    }
    check(std::abs(mean) < 0.01 && std::abs(product) < 0.01, "random: mean or correlation of neighbours");
    check(std::abs(square - (normal ? 1 : 1.0 / 3)) < 0.01, "random: variance ", square);
    check(std::abs(fourth - (normal ? 3 : 0.2)) < 0.06, "random: fourth moment ", fourth);
    for (const auto& [set, f] : all) {
      std::vector<T> whole(n);
      generate (*f)(42, 7, 0, n, whole.data());
      check(std::memcmp(whole.data(), expected.data(), n * sizeof(T)) == 0, "random on ", set, " differs from ref");
      for (uint64_t begin = 0; begin < 70; ++begin)
        for (int64_t size : {0, 1, 3, 17, 64, 99}) {
          part.assign(100, T(-77));
          generate (*f)(42, 7, begin, size, part.data());
          check(std::memcmp(part.data(), &expected[begin], size_t(size) * sizeof(T)) == 0 && part[size] == T(-77),
                "random on ", set, ": elements ", begin, " + ", size);
        }
    }
  }
}

void sweep_math(uint32_t step, int64_t powers, bool print) {
  check_unary<float>(step, print);
  check_unary<double>(step, print);
  check_pow<float>(powers, print);
  check_pow<double>(powers, print);
}

void test_math() {
  sweep_math(400009, 10000, false);
  for (const auto& set : sets()) {
    check_philox_answers(*set.second);
    check_layout(*set.second);
  }
  check_random<float>();
  check_random<double>();
}
