// What gemm's programs see.
#pragma once
#include "pyformer/ops/matmul/matmul_kernels.h"

namespace pyformer {

// A row-major matrix with rows `stride` elements apart, used transposed or not.
struct Operand {
  const void* data = nullptr;
  int64_t stride = 0;
  bool transposed = false;
  int64_t batch_stride = 0;  // elements
  bool wide = false;         // float32, rounded to the product's dtype, bfloat16, where it is read
};

// op(b) as GemmTable::pack left it. Programs of another set read b itself.
struct Panels {
  Isa isa = Isa::ref;
  const void* data = nullptr;  // null: none
};

struct Gemm {
  DType dtype = DType::float32;  // of a and b; any float
  bool wide_c = false;           // c is of accumulator(dtype), not of dtype
  int64_t m = 0, n = 0, k = 0;
  Operand a;          // op(a) is (m, k)
  Operand b;          // op(b) is (k, n)
  Panels b_panels;    // the same as b; batch must be 1
  void* c = nullptr;  // (m, n), overlapping neither a nor b
  int64_t c_stride = 0, c_batch_stride = 0;
  int64_t batch = 1;
  // c already holds the sum ((p0 + p1) + ...) of earlier k, a multiple of 256 of them; this product's chains are added
  // to it. 16-bit operands then need wide_c, and residual may not be c.
  bool continue_sum = false;
  Epilogue epilogue;  // all of c's dtype; matrices have c's strides, also between batch items; bias is the same for all
};

// op(b) to be stored as panels, for many products.
struct GemmPack {
  int64_t n, k;
  Operand b;
  void* panels;
};
using PanelBytes = int64_t (*)(int64_t n, int64_t k);

struct GemmTable {
  static constexpr const char* name = "gemm";
  static constexpr bool products = true;
  PerDtype<Program<Gemm>> multiply;
  PerDtype<PanelBytes> panel_bytes;  // 0: there are no panels, products read b itself
  PerDtype<Program<GemmPack>> pack;
};

}  // namespace pyformer
