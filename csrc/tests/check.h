// The one assertion of the C++ tests.
#pragma once
#include "pyformer/base/error.h"

namespace pyformer {

inline void expect(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error(what);
}

template <class Error, class F>
void expect_throws(const F& f, const std::string& what) {
  try {
    f();
  } catch (const Error&) {
    return;
  }
  throw std::runtime_error(what + ": nothing was thrown");
}

}  // namespace pyformer
