// Reading integer operands (token ids, targets, positions).
#pragma once
#include "pyformer/core/array.h"

namespace pyformer {

// A copy of ids as int64, which later writes to ids leave alone. TypeError unless integers.
inline Array int64_copy(const char* op, const char* what, const Array& ids) {
  if (ids.dtype() == DType::int64) return ids.copy();
  if (ids.dtype() != DType::int32)
    throw TypeError(cat(op, ": ", what, " must be int64 or int32, got ", name(ids.dtype())));
  const Array wide = Array::empty(ids.shape(), DType::int64);
  std::copy_n(ids.data<int32_t>(), ids.size(), wide.data<int64_t>());
  return wide;
}

// The same, each within [0, limit): IndexError naming the first that is outside.
inline Array checked_ids(const char* op, const char* what, const Array& ids, int64_t limit) {
  const Array wide = int64_copy(op, what, ids);
  const int64_t* id = wide.data<int64_t>();
  for (int64_t i = 0; i < wide.size(); ++i)
    if (id[i] < 0 || id[i] >= limit)
      throw IndexError(cat(op, ": ", what, " must be within [0, ", limit, "), got ", id[i], " at position ", i));
  return wide;
}

}  // namespace pyformer
