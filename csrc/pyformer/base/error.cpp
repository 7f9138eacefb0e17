#include "pyformer/base/error.h"

#include <sstream>

namespace pyformer::detail {

std::string joined(std::initializer_list<Part> parts) {
  std::ostringstream out;
  for (const Part& part : parts) switch (part.kind) {
      case Part::Kind::text:
        out << part.text;
        break;
      case Part::Kind::string:
        out << *part.string;
        break;
      case Part::Kind::character:
        out << part.character;
        break;
      case Part::Kind::integer:
        out << part.integer;
        break;
      case Part::Kind::size:
        out << part.size;
        break;
      case Part::Kind::real:
        out << part.real;
        break;
    }
  return out.str();
}

void product_too_large(int64_t a, int64_t b) {
  throw OutOfMemory(cat("size ", a, " x ", b, " does not fit in 64 bits"));
}

}  // namespace pyformer::detail
