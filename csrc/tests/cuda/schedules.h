// Running a test kernel in every schedule that the emulator has.
#pragma once
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

}  // namespace pyformer::emulated
