#include "pyformer/ops/linear/weight.h"

#include "pyformer/core/precision.h"

namespace pyformer {

Weight::Weight(const Array& plain) : data(plain) {
  if (plain.ndim() != 2) return;  // linear's checks say so
  n = plain.dim(0);
  k = plain.dim(1);
  version = plain.storage().version();
}

bool Weight::is_current(const Array& source) const {
  return version == source.storage().version() && isa == current_isa() && data.dtype() == operand_dtype(source.dtype());
}

void Weight::set(Gemm& g) const {
  g.n = n;
  g.k = k;
  if (format == Format::plain)
    g.b = {data.raw(), k, true};
  else
    g.b_panels = {isa, data.raw()};
}

Weight packed(const char* op, const Array& source) {
  const Array weight = product_operand(source);
  Weight w(weight);
  w.version = source.storage().version();
  w.isa = current_isa();
  const int64_t bytes = find_entry(op, &GemmTable::panel_bytes, weight.device(), weight.dtype())(w.n, w.k);
  if (bytes == 0) return w;
  w.format = Format::panels;
  w.data = weight.like({bytes / item_bytes(weight.dtype())});
  run(op, &GemmTable::pack, weight, GemmPack{w.n, w.k, {weight.raw(), w.k, true}, w.data.raw()});
  return w;
}

}  // namespace pyformer
