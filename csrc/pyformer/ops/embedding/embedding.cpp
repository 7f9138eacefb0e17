#include "pyformer/ops/embedding/embedding.h"

#include "pyformer/base/run.h"
#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/core/precision.h"
#include "pyformer/ops/embedding/embedding_kernels.h"

namespace pyformer {

static Array checked_rows(const Array& ids, const Array& weight) {
  if (weight.ndim() != 2) throw ValueError(cat("embedding: weight must be (V, C), got ", weight.shape().str()));
  check_device("embedding", "ids", ids, "weight", weight);
  return checked_ids("embedding", "ids", ids, weight.dim(0));
}

static const int64_t* numbers_of_ids(const Array& ids) { return static_cast<const int64_t*>(ids.raw()); }

Array embedding_forward(const Array& ids, const Array& weight) {
  Shape shape = ids.shape();
  shape.push_back(weight.dim(1));
  const Array out = weight.like(shape);
  run("embedding", &EmbeddingTable::forward, weight,
      EmbeddingForward{ids.size(), weight.dim(1), numbers_of_ids(ids), weight.raw(), out.raw()});
  return out;
}

Array embedding_backward(const Array& dout, const Array& ids, int64_t rows) {
  const Array dweight = dout.zeros_like({rows, dout.shape().back()}, accumulator(dout.dtype()));
  run("embedding", &EmbeddingTable::backward, dout,
      EmbeddingBackward{ids.size(), dweight.dim(1), numbers_of_ids(ids), dout.raw(), dweight.raw()});
  return dweight;
}

Tensor embedding(const Tensor& ids, const Tensor& weight) {
  const Array checked = checked_rows(ids.array(), weight.array());
  return record("embedding", {ids, weight}, widened(embedding_forward(checked, weight.array())),
                [checked, rows = weight.dim(0)](const Array& dout, const Needs&) -> Gradients {
                  return {Array(), embedding_backward(dout, checked, rows)};
                });
}

}  // namespace pyformer
