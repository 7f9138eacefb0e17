// Reading integer operands (token ids, targets, positions).
#pragma once
#include "pyformer/core/array.h"

namespace pyformer {

// A copy of ids as int64, which later writes to ids leave alone, each within [0, limit): TypeError unless integers,
// IndexError naming the first that is outside.
inline Array checked_ids(const char* op, const char* what, const Array& ids, int64_t limit) {
  if (!is_integer(ids.dtype()))
    throw TypeError(cat(op, ": ", what, " must be int64 or int32, got ", name(ids.dtype())));
  const bool narrow = ids.dtype() == DType::int32;
  const Array wide = Array::empty(ids.shape(), DType::int64);
  int64_t* out = wide.data<int64_t>();
  for (int64_t i = 0; i < ids.size(); ++i) {
    const int64_t id = narrow ? ids.data<int32_t>()[i] : ids.data<int64_t>()[i];
    if (id < 0 || id >= limit)
      throw IndexError(cat(op, ": ", what, " must be within [0, ", limit, "), got ", id, " at position ", i));
    out[i] = id;
  }
  return wide;
}

}  // namespace pyformer
