// The matrix product on raw pointers, for ops that are made of it: c = epilogue(op(a) op(b)), batched.
//
// Each output is ((p0 + p1) + p2) + ..., p_i one FMA chain from +0 over 256 consecutive k, whatever the shape, the
// batch, the number of threads, the instruction set and whether b was packed before.
#pragma once
#include <memory>

#include "pyformer/base/dtype.h"
#include "pyformer/ops/matmul/matmul_kernels.h"

namespace pyformer {

struct PackedMatrix;

// A row-major matrix with rows `stride` elements apart, used transposed or not.
struct Operand {
  const void* data = nullptr;
  int64_t stride = 0;
  bool transposed = false;
  int64_t batch_stride = 0;  // elements
};

struct Gemm {
  DType dtype = DType::float32;  // or float64
  int64_t m = 0, n = 0, k = 0;
  Operand a;                               // op(a) is (m, k)
  Operand b;                               // op(b) is (k, n)
  const PackedMatrix* packed_b = nullptr;  // stands for b; batch must be 1
  void* c = nullptr;                       // (m, n), overlapping neither a nor b
  int64_t c_stride = 0, c_batch_stride = 0;
  int64_t batch = 1;
  // c holds the sum ((p0 + p1) + ...) of earlier k, whose chains this product's follow; residual must not be c then.
  bool continue_sum = false;
  Epilogue epilogue;  // its matrices have c's strides, also between batch items; bias is the same for all
};

void gemm(const Gemm& g);

// op(b) stored once as panels for many products. Keeps b's address: b must live as long, and where another
// instruction set was chosen since, or the set has no panels, products read b itself.
struct PackedMatrix {
  PackedMatrix(const Operand& b, int64_t k, int64_t n, DType dtype);
  PackedMatrix(const PackedMatrix&) = delete;

  Operand source;
  int64_t k, n;
  DType dtype;
  Isa isa;
  std::shared_ptr<void> data;  // null: no panels
};

}  // namespace pyformer
