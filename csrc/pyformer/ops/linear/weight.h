// Weight: the matrix of linear in the layout that its format says. Products with it have the same bits in either.
#pragma once
#include "pyformer/ops/matmul/operand.h"

namespace pyformer {

enum class Format : uint8_t {
  plain,   // (n, k), row-major
  panels,  // as the products of one instruction set read it fastest (GemmTable::pack)
};

struct Weight {
  Weight() = default;
  Weight(const Array& plain);  // NOLINT: an array stands for itself wherever a weight is wanted

  Format format = Format::plain;
  int64_t n = 0, k = 0;
  DType dtype = DType::float32;  // in which products take it
  Array data;
  int64_t version = 0;  // that `data`'s source had
  Isa isa = Isa::ref;   // whose panels

  // Would packing `source` again give the same?
  bool is_current(const Array& source) const;
  // Makes it the right operand of a product, x weight^T.
  void set(Gemm& g) const;
};

// A weight (N, C), as products take it now (operand_dtype), in panels of the current instruction set; plain where
// that has none.
Weight packed(const char* op, const Array& weight);

}  // namespace pyformer
