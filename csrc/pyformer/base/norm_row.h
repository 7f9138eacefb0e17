// The numbers that normalise a row, which forward keeps for backward.
#pragma once

namespace pyformer {

// xhat = (x * scale - mean) * rstd + shift, each parenthesis and the whole one FMA. scale is a power of two, 1 but for
// rows whose squares overflow or vanish; mean and 1 / rstd are in its units; shift is what the rounding of mean takes
// away. The gradient of x is that of x * scale, times scale.
template <class T>
struct NormRow {
  T scale, mean, rstd, shift;
};
constexpr int kNormRowNumbers = 4;

}  // namespace pyformer
