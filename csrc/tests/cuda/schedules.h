// Running a test kernel in every schedule that the emulator has.
#pragma once
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "pyformer/cuda/emulated.h"
#include "tests/require.h"

namespace pyformer::emulated {

inline const std::vector<std::string>& schedules() {
  static const std::vector<std::string> all = {
      "lowest",      "highest",      "drawn,seed=1",      "drawn,seed=2",
      "lowest,late", "highest,late", "drawn,late,seed=1", "drawn,late,seed=2",
  };
  return all;
}

// Settings for as long as it lives.
class With {
 public:
  explicit With(const std::string& words) : before_(settings) { settings = settings_of(words); }
  ~With() { settings = before_; }
  With(const With&) = delete;

 private:
  Settings before_;
};

// What a kernel gives, and an empty string or the fault that it ends with.
template <class T>
struct Outcome {
  std::vector<T> out;
  std::string fault;
};
template <class T>
Outcome<T> outcome(const std::string& schedule, const std::function<std::vector<T>()>& kernel) {
  const With settings(schedule);
  try {
    return {kernel(), ""};
  } catch (const Fault& fault) {
    return {{}, fault.what()};
  }
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && !std::memcmp(a.data(), b.data(), a.size() * sizeof(T));
}

// Numbers from -2 to 2.
inline std::vector<float> numbers(size_t count, uint32_t seed) {
  std::vector<float> v(count);
  for (float& x : v) x = float(int((seed = seed * 1664525u + 1013904223u) >> 16) - 32768) / 16384;
  return v;
}

// The kernel's result in every schedule: the same bits, near what is right.
template <class T, class Widen>
std::vector<T> right_in_every_schedule(const std::function<std::vector<T>()>& kernel, const std::vector<double>& right,
                                       double tolerance, const Widen& widen) {
  std::vector<T> first;
  for (const std::string& schedule : schedules()) {
    const Outcome<T> got = outcome<T>(schedule, kernel);
    if (!got.fault.empty()) throw std::runtime_error(schedule + ": " + got.fault);
    REQUIRE(got.out.size() == right.size());
    for (size_t i = 0; i < right.size(); ++i)
      if (!(std::fabs(double(widen(got.out[i])) - right[i]) <= tolerance * std::fmax(1.0, std::fabs(right[i]))))
        throw std::runtime_error(cat(schedule, ": element ", i, " is ", widen(got.out[i]), ", must be ", right[i]));
    if (first.empty()) first = got.out;
    if (!same_bits(got.out, first)) throw std::runtime_error(schedule + ": other bits than in the first schedule");
  }
  return first;
}

// A mistake that is planted must show in this schedule: as a fault that says `says` or, where that is empty, in the
// bits.
template <class T>
void found(const char* what, const std::string& schedule, const std::function<std::vector<T>()>& planted,
           const std::vector<T>& right, const std::string& says) {
  const Outcome<T> got = outcome<T>(schedule, planted);
  const bool seen =
      says.empty() ? got.fault.empty() && !same_bits(got.out, right) : got.fault.find(says) != std::string::npos;
  if (!seen)
    throw std::runtime_error(
        cat(what, " is not found in ", schedule, ": ", got.fault.empty() ? "no fault" : got.fault));
}

}  // namespace pyformer::emulated
