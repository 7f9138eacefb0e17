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
#include "pyformer/ops/matmul/gemm_kernels.h"

namespace pyformer {

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
