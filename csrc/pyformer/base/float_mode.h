// The floating-point mode of the calling thread: rounding, denormals, traps. Other code of the process may change it.
#pragma once
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace pyformer {

// Round to nearest, keep denormals, no traps.
constexpr unsigned kDefaultFloatMode = 0x1F80;

// Without the flags that say what arithmetic has met.
inline unsigned float_mode() {
#if defined(__x86_64__)
  constexpr unsigned kFlags = 0x3F;
  return _mm_getcsr() & ~kFlags;
#else
  return kDefaultFloatMode;
#endif
}

inline void set_float_mode([[maybe_unused]] unsigned mode) {
#if defined(__x86_64__)
  _mm_setcsr(mode);
#endif
}

// For its lifetime the thread computes in the default mode; then again in the mode that it had. The compiler may move
// arithmetic across it: what it guards must be behind a call of a function pointer, or in Python.
class DefaultFloatMode {
 public:
  DefaultFloatMode() : before_(float_mode()) {
    if (before_ != kDefaultFloatMode) set_float_mode(kDefaultFloatMode);
  }
  ~DefaultFloatMode() {
    if (before_ != kDefaultFloatMode) set_float_mode(before_);
  }
  DefaultFloatMode(const DefaultFloatMode&) = delete;
  DefaultFloatMode& operator=(const DefaultFloatMode&) = delete;

 private:
  unsigned before_;
};

}  // namespace pyformer
