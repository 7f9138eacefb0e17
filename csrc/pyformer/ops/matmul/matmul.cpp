#include "pyformer/ops/matmul/matmul.h"

#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/core/precision.h"
#include "pyformer/ops/elementwise/elementwise.h"
#include "pyformer/ops/matmul/operand.h"

namespace pyformer {

namespace {

// The axes before the last two.
Shape batch_of(const Shape& s) { return Shape(s.begin(), s.ndim() - 2); }
Shape with_matrix(Shape batch, int64_t rows, int64_t cols) {
  batch.push_back(rows);
  batch.push_back(cols);
  return batch;
}

Shape broadcast_batch(const Array& a, const Array& b) {
  const Shape x = batch_of(a.shape()), y = batch_of(b.shape());
  const int ndim = std::max(x.ndim(), y.ndim());
  int64_t dims[Shape::kMaxDims];
  for (int i = 0; i < ndim; ++i) {
    const int ix = i - (ndim - x.ndim()), iy = i - (ndim - y.ndim());
    const int64_t dx = ix < 0 ? 1 : x[ix], dy = iy < 0 ? 1 : y[iy];
    if (dx != dy && dx != 1 && dy != 1)
      throw ValueError(cat("matmul: batch axes of a ", a.shape().str(), " and b ", b.shape().str(),
                           " do not broadcast: expected equal extents or 1, got ", dx, " and ", dy));
    dims[i] = dx == 1 ? dy : dx;
  }
  return Shape(dims, ndim);
}

// How many matrices of an operand lie between neighbours along axis `axis` of the broadcast batch; 0: it stays.
int64_t batch_stride(const Shape& operand, const Shape& batch, int axis) {
  const int own = axis - (batch.ndim() - operand.ndim());
  return own < 0 || operand[own] == 1 ? 0 : operand.inner(own);
}

// op(a) op(b) in the dtype `wanted`, for operands of at least two axes whose shapes fit.
Array product(const Array& a, const Array& b, bool transpose_a, bool transpose_b, DType operands, DType wanted) {
  const int64_t a_rows = a.dim(a.ndim() - 2), a_cols = a.dim(a.ndim() - 1);
  const int64_t b_rows = b.dim(b.ndim() - 2), b_cols = b.dim(b.ndim() - 1);
  const Shape batch = broadcast_batch(a, b), a_batch = batch_of(a.shape()), b_batch = batch_of(b.shape());
  Gemm g;
  g.dtype = operands;
  g.wide_c = wanted != operands;
  g.m = transpose_a ? a_cols : a_rows;
  g.k = transpose_a ? a_rows : a_cols;
  g.n = transpose_b ? b_rows : b_cols;
  Array out = a.like(with_matrix(batch, g.m, g.n), wanted);

  // Batch axes merge, from the last, while both operands step evenly; the others are walked.
  int axis = batch.ndim();
  int64_t a_step = 0, b_step = 0;
  while (axis > 0) {
    const int64_t a_next = batch_stride(a_batch, batch, axis - 1), b_next = batch_stride(b_batch, batch, axis - 1);
    const bool merges =
        g.batch == 1 || batch[axis - 1] == 1 || (a_next == a_step * g.batch && b_next == b_step * g.batch);
    if (!merges) break;
    if (g.batch == 1) {
      a_step = a_next;
      b_step = b_next;
    }
    g.batch *= batch[--axis];
  }
  const int64_t out_bytes = item_bytes(wanted), a_size = a_rows * a_cols, b_size = b_rows * b_cols;
  g.a = operand_of(a, a_cols, transpose_a, operands);
  g.b = operand_of(b, b_cols, transpose_b, operands);
  g.a.batch_stride = a_step * a_size;
  g.b.batch_stride = b_step * b_size;
  g.c_stride = g.n;
  g.c_batch_stride = g.m * g.n;
  const int64_t walked = Shape(batch.begin(), axis).size();
  for (int64_t i = 0; i < walked; ++i) {
    int64_t a_at = 0, b_at = 0, rest = i;
    for (int d = axis - 1; d >= 0; --d) {
      a_at += rest % batch[d] * batch_stride(a_batch, batch, d);
      b_at += rest % batch[d] * batch_stride(b_batch, batch, d);
      rest /= batch[d];
    }
    g.a.data = static_cast<const char*>(a.raw()) + a_at * a_size * item_bytes(a.dtype());
    g.b.data = static_cast<const char*>(b.raw()) + b_at * b_size * item_bytes(b.dtype());
    g.c = static_cast<char*>(out.raw()) + i * g.batch * g.c_batch_stride * out_bytes;
    run("matmul", &GemmTable::multiply, a.device(), operands, g);
  }
  return out;
}

// The operands as the product takes them: at least two axes, and the rows of all of a's matrices as one matrix where
// b is one matrix.
struct Operands2D {
  Array a, b;
  Shape out_shape;  // what the caller sees
  Shape product_shape;
};

Operands2D prepare(const Array& a, const Array& b, bool transpose_a, bool transpose_b, DType operands, DType wanted) {
  check_operand("matmul", "b", b, "a", a, operands, wanted);
  if (a.ndim() == 0 || b.ndim() == 0)
    throw ValueError(cat("matmul: expected at least 1 axis, got a ", a.shape().str(), " and b ", b.shape().str()));
  if ((a.ndim() == 1 && transpose_a) || (b.ndim() == 1 && transpose_b))
    throw ValueError(cat("matmul: a transposed operand must have at least 2 axes, got a ", a.shape().str(), " and b ",
                         b.shape().str()));
  Operands2D o = {a.ndim() == 1 ? a.reshape({1, a.dim(0)}) : a, b.ndim() == 1 ? b.reshape({b.dim(0), 1}) : b, {}, {}};
  const int64_t m = o.a.dim(o.a.ndim() - (transpose_a ? 1 : 2)), k = o.a.dim(o.a.ndim() - (transpose_a ? 2 : 1));
  const int64_t b_k = o.b.dim(o.b.ndim() - (transpose_b ? 1 : 2)), n = o.b.dim(o.b.ndim() - (transpose_b ? 2 : 1));
  if (k != b_k)
    throw ValueError(cat("matmul: op(a) is (..., m, k) with k = ", k, " and op(b) must be (..., ", k, ", n), got a ",
                         a.shape().str(), transpose_a ? " transposed" : "", " and b ", b.shape().str(),
                         transpose_b ? " transposed" : ""));
  const Shape batch = broadcast_batch(o.a, o.b);
  o.out_shape = batch;
  if (a.ndim() > 1) o.out_shape.push_back(m);
  if (b.ndim() > 1) o.out_shape.push_back(n);
  if (o.b.ndim() == 2 && o.a.ndim() > 2 && !transpose_a) o.a = o.a.reshape({checked_multiply(batch.size(), m), k});
  o.product_shape =
      o.a.ndim() == 2 && o.b.ndim() == 2 ? Shape{transpose_a ? o.a.dim(1) : o.a.dim(0), n} : with_matrix(batch, m, n);
  return o;
}

}  // namespace

Array matmul_forward(const Array& a, const Array& b, bool transpose_a, bool transpose_b, DType operands, DType wanted) {
  const Operands2D o = prepare(a, b, transpose_a, transpose_b, operands, wanted);
  return product(o.a, o.b, transpose_a, transpose_b, operands, wanted).reshape(o.out_shape);
}

// With C = op(a) op(b), per matrix and then summed to the operand's shape:
//   (1) da = dC op(b)^T, or its transpose op(b) dC^T where a is used transposed
//   (2) db = op(a)^T dC, or its transpose dC^T op(a) where b is used transposed
// Both in the accumulator's dtype: either may be a parameter's.
MatmulGradient matmul_backward(const Array& dout, const Array& a, const Array& b, bool transpose_a, bool transpose_b,
                               bool need_da, bool need_db, DType operands) {
  const Operands2D o = prepare(a, b, transpose_a, transpose_b, operands, dout.dtype());
  const Array dc = dout.reshape(o.product_shape);
  const auto multiply = [&](const Array& x, const Array& y, bool transpose_x, bool transpose_y) {
    return product(x, y, transpose_x, transpose_y, operands, accumulator(operands));
  };
  MatmulGradient g;
  if (need_da) {  // (1)
    g.da = transpose_a ? multiply(o.b, dc, transpose_b, true) : multiply(dc, o.b, false, !transpose_b);
    g.da = sum_to(g.da, o.a.shape()).reshape(a.shape());
  }
  if (need_db) {  // (2)
    g.db = transpose_b ? multiply(dc, o.a, true, transpose_a) : multiply(o.a, dc, !transpose_a, false);
    g.db = sum_to(g.db, o.b.shape()).reshape(b.shape());
  }
  return g;
}

Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b) {
  const Array x = unrounded_operand(a), y = unrounded_operand(b);
  const DType operands = operand_dtype(x.dtype());
  return record("matmul", {a, b}, matmul_forward(x, y, transpose_a, transpose_b, operands, product_result(x)),
                [a = save(x), b = save(y), transpose_a, transpose_b, operands](const Array& dout,
                                                                               const Needs& need) -> Gradients {
                  MatmulGradient g =
                      matmul_backward(dout, a(), b(), transpose_a, transpose_b, need[0], need[1], operands);
                  return {g.da, g.db};
                });
}

}  // namespace pyformer
