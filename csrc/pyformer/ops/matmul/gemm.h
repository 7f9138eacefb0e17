// The matrix product on raw pointers, for ops that are made of it: c = epilogue(op(a) op(b)), batched.
//
//   run("linear", &GemmTable::multiply, x, g);      in an op
//   gemm(isa, g);                                   in a program of the CPU's set isa, also inside of a task
//
// Each output is ((p0 + p1) + p2) + ..., p_i one FMA chain from +0 over 256 consecutive k, whatever the shape, the
// batch, the number of threads, the instruction set and whether b was packed before; for bfloat16 it is the sum of
// bfloat16_dot.h. 16-bit operands are widened, and c is rounded once, where it is stored.
#pragma once
#include <memory>

#include "pyformer/base/run.h"
#include "pyformer/ops/matmul/matmul_kernels.h"

namespace pyformer {

// A row-major matrix with rows `stride` elements apart, used transposed or not.
struct Operand {
  const void* data = nullptr;
  int64_t stride = 0;
  bool transposed = false;
  int64_t batch_stride = 0;  // elements
};

// op(b) as GemmTable::pack left it. Programs of another set read b itself.
struct Panels {
  Isa isa = Isa::ref;
  const void* data = nullptr;  // null: none
};

struct PackedMatrix;

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
// The programs are the same for every set, made of its kernels: gemm_program.cpp.
template <Isa isa>
struct KernelsOf<GemmTable, isa> {
  static const GemmTable& table();
};

// The set whose products a program of `isa` uses: the set in use where that is `isa` with kernels for bfloat16 besides
// (amx, avx512_bf16), else `isa` itself.
inline Isa product_isa(Isa isa) {
  const Isa current = current_isa();
  return is_product_set(current) && kIsas[int(current)].falls_back_to == int(isa) ? current : isa;
}
inline void gemm(Isa isa, const Gemm& g) { host_entry(&GemmTable::multiply, product_isa(isa), g.dtype)(g); }

// op(b) stored once as panels by a program of the CPU's set isa. b must live as long.
struct PackedMatrix {
  PackedMatrix(const Operand& b, int64_t k, int64_t n, DType dtype, Isa isa);
  PackedMatrix(const PackedMatrix&) = delete;
  Panels panels;

 private:
  std::shared_ptr<void> data_;
};

}  // namespace pyformer
