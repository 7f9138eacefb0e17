#include "pyformer/core/shape.h"

namespace pyformer {

std::string Shape::str() const {
  std::string s = "(";
  for (int i = 0; i < ndim_; ++i) s += (i ? ", " : "") + std::to_string(dims_[i]);
  return s + (ndim_ == 1 ? ",)" : ")");
}

void Shape::too_many(int ndim) {
  throw ValueError(cat("shape: at most ", kMaxDims, " dimensions expected, got ", ndim));
}
void Shape::negative(int64_t dim) { throw ValueError(cat("shape: dimensions must not be negative, got ", dim)); }

int normalize_axis(const char* op, int64_t axis, int ndim) {
  if (axis < -ndim || axis >= ndim)
    throw IndexError(cat(op, ": axis ", axis, " is out of range for an array of ", ndim, " dimensions"));
  return int(axis < 0 ? axis + ndim : axis);
}

}  // namespace pyformer
