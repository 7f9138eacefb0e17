#include "pyformer/ops/embedding/embedding.h"

#include <cstring>

#include "pyformer/base/thread_pool.h"
#include "pyformer/core/ids.h"
#include "pyformer/core/partials.h"

namespace pyformer {

static Array checked_rows(const Array& ids, const Array& weight) {
  if (weight.ndim() != 2) throw ValueError(cat("embedding: weight must be (V, C), got ", weight.shape().str()));
  return checked_ids("embedding", "ids", ids, weight.dim(0));
}

Array embedding_forward(const Array& ids, const Array& weight) {
  const int64_t* id = ids.data<int64_t>();
  Shape shape = ids.shape();
  shape.push_back(weight.dim(1));
  const Array out = Array::empty(shape, weight.dtype());
  const int64_t row_bytes = weight.dim(1) * item_bytes(weight.dtype());
  const char* table = static_cast<const char*>(weight.raw());
  char* to = static_cast<char*>(out.raw());
  parallel_for(ids.size(), grain_of_rows(weight.dim(1)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) std::memcpy(to + i * row_bytes, table + id[i] * row_bytes, size_t(row_bytes));
  });
  return out;
}

template <class T>
static void add_rows(const Array& dout, const Array& ids, const Array& dweight) {
  const int64_t C = dweight.dim(1), tokens = ids.size();
  constexpr int64_t kColumns = 64;
  const int64_t* id = ids.data<int64_t>();
  parallel_for((C + kColumns - 1) / kColumns, 1, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * kColumns, last = std::min(C, end * kColumns);
    for (int64_t i = 0; i < tokens; ++i) {
      T* to = dweight.data<T>() + id[i] * C;
      const T* from = dout.data<T>() + i * C;
      for (int64_t c = first; c < last; ++c) to[c] = to[c] + from[c];
    }
  });
}

Array embedding_backward(const Array& dout, const Array& ids, int64_t rows) {
  const Array dweight = Array::zeros({rows, dout.shape().back()}, dout.dtype());
  if (dout.dtype() == DType::float64)
    add_rows<double>(dout, ids, dweight);
  else
    add_rows<float>(dout, ids, dweight);
  return dweight;
}

Tensor embedding(const Tensor& ids, const Tensor& weight) {
  const Array checked = checked_rows(ids.array(), weight.array());
  return record("embedding", {ids, weight}, embedding_forward(checked, weight.array()),
                [checked, rows = weight.dim(0)](const Array& dout, const Needs&) -> Gradients {
                  return {Array(), embedding_backward(dout, checked, rows)};
                });
}

}  // namespace pyformer
