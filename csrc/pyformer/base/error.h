// The exceptions the library throws; the bindings turn each into the Python exception of the same name
// (OutOfMemory into MemoryError, Interrupted into whatever the signal handler raised).
#pragma once
#include <cstdint>
#include <new>
#include <sstream>
#include <stdexcept>
#include <string>

namespace pyformer {

struct ValueError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct TypeError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct IndexError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct Interrupted : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class OutOfMemory : public std::bad_alloc {
 public:
  explicit OutOfMemory(std::string message) : message_(std::move(message)) {}
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  std::string message_;
};

// Joins its arguments into one string.
template <class... A>
std::string cat(const A&... a) {
  std::ostringstream out;
  (out << ... << a);
  return out.str();
}

// a * b, a + b for sizes; OutOfMemory if the result does not fit (no machine holds it).
inline int64_t checked_multiply(int64_t a, int64_t b) {
  int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) throw OutOfMemory(cat("size ", a, " x ", b, " does not fit in 64 bits"));
  return product;
}

}  // namespace pyformer
