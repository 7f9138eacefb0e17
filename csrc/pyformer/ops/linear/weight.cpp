#include "pyformer/ops/linear/weight.h"

#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/core/precision.h"

namespace pyformer {

Weight::Weight(const Array& plain) : data(plain) {
  if (plain.ndim() != 2) return;  // linear's checks say so
  n = plain.dim(0);
  k = plain.dim(1);
  dtype = operand_dtype(plain.dtype());
  version = plain.storage().version();
}

bool Weight::is_current(const Array& source) const {
  return version == source.storage().version() && isa == current_isa() && dtype == operand_dtype(source.dtype());
}

void Weight::set(Gemm& g) const {
  g.n = n;
  g.k = k;
  if (format == Format::plain)
    g.b = operand_of(data, k, true, g.dtype);
  else
    g.b_panels = {isa, data.raw()};
}

Weight packed(const char* op, const Array& source) {
  const Array weight = unrounded_operand(source);
  Weight w(weight);
  w.version = source.storage().version();
  w.isa = current_isa();
  const int64_t bytes = find_entry(op, &GemmTable::panel_bytes, weight.device(), w.dtype)(w.n, w.k);
  if (bytes == 0) {
    w.data = cast(weight, w.dtype);
    return w;
  }
  w.format = Format::panels;
  w.data = weight.like({bytes / item_bytes(w.dtype)}, w.dtype);
  run(op, &GemmTable::pack, weight.device(), w.dtype,
      GemmPack{w.n, w.k, operand_of(weight, w.k, true, w.dtype), w.data.raw()});
  return w;
}

}  // namespace pyformer
