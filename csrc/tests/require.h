// What the C++ tests check with: a condition that is not true is a runtime_error that names its place.
#pragma once
#include <stdexcept>

#include "pyformer/base/error.h"

#define REQUIRE(condition)                                                                                \
  do {                                                                                                    \
    if (!(condition)) throw std::runtime_error(cat(__FILE__, ":", __LINE__, ": not true: ", #condition)); \
  } while (0)
