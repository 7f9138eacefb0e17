// The exceptions the library throws; the bindings turn each into the Python exception of the same name
// (OutOfMemory into MemoryError, Interrupted into whatever the signal handler raised).
#pragma once
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <new>
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

namespace detail {
// One argument of cat(). A call only stores these; what writes them is compiled once.
struct Part {
  enum class Kind { text, string, character, integer, size, real } kind;
  union {
    const char* text;
    const std::string* string;
    char character;
    int64_t integer;
    uint64_t size;
    double real;
  };
  Part(const char* x) : kind(Kind::text), text(x) {}
  Part(const std::string& x) : kind(Kind::string), string(&x) {}
  Part(char x) : kind(Kind::character), character(x) {}
  Part(std::signed_integral auto x) : kind(Kind::integer), integer(x) {}
  Part(std::unsigned_integral auto x) : kind(Kind::size), size(x) {}
  Part(std::floating_point auto x) : kind(Kind::real), real(x) {}
};
std::string joined(std::initializer_list<Part> parts);
[[noreturn]] void product_too_large(int64_t a, int64_t b);
}  // namespace detail

// Joins its arguments into one string.
template <class... A>
std::string cat(const A&... a) {
  return detail::joined({detail::Part(a)...});
}

// a * b for sizes; OutOfMemory if the result does not fit (no machine holds it).
inline int64_t checked_multiply(int64_t a, int64_t b) {
  int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) detail::product_too_large(a, b);
  return product;
}

}  // namespace pyformer
