#include "pyformer/base/dtype.h"

namespace pyformer {

const char* name(DType dtype) {
  constexpr const char* names[] = {"float32", "float64", "bfloat16", "float16", "int64", "int32", "bool"};
  return names[int(dtype)];
}

int64_t item_bytes(DType dtype) {
  constexpr int64_t bytes[] = {4, 8, 2, 2, 8, 4, 1};
  return bytes[int(dtype)];
}

}  // namespace pyformer
