// What readers of files do string by string.
#include <cstring>
#include <string_view>

#include "bindings.h"

namespace pyformer::bindings {

// Strings lie one after the other, each a little-endian uint64, its length, and its bytes.
static py::tuple strings_in(const py::bytes& data, int64_t count) {
  const std::string_view bytes(data);
  py::list found;
  size_t at = 0;
  for (uint64_t length; count > 0 && bytes.size() - at >= sizeof length; --count) {
    std::memcpy(&length, bytes.data() + at, sizeof length);
    if (length > bytes.size() - at - sizeof length) break;
    found.append(py::bytes(bytes.data() + at + sizeof length, length));
    at += sizeof length + length;
  }
  return py::make_tuple(found, at);
}

void bind_files(py::module_& core) {
  core.def("strings_in", &strings_in, py::arg("data"), py::arg("count"),
           "(those of the next `count` strings of a GGUF file that lie whole in `data`, how many bytes they take).");
}

}  // namespace pyformer::bindings
