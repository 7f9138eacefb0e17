// Products of bfloat16 for the CPU's sets that have kernels of their own for them.
#pragma once
#include "pyformer/ops/matmul/gemm.h"

namespace pyformer {

// The set whose kernels multiply bfloat16 for `isa`. The first call compares a set's sums with those of the plain
// loops: where they are equal the set is used, else the one that it falls back to is asked. ref: plain loops multiply.
Isa bfloat16_product_set(Isa isa);

// c = epilogue(op(a) op(b)) with the kernels of a set that bfloat16_product_set gave, not ref; batch must be 1.
void multiply_bfloat16(const Gemm& g, Isa set);

// The bytes that the panels of op(b) take; 0: there are to be none, as they would be larger than the matrix.
int64_t bfloat16_panel_bytes(int64_t n, int64_t k, Isa set);
void pack_bfloat16(const GemmPack& p, Isa set);

// 10^9 operations a second of the best set's tiles, their loads from L1 counted in: what products of bfloat16 could
// reach here now. On AMX the products alone would be faster where loads are slow, but no program gets these. ValueError
// unless 1 <= threads <= 1024; 0 where only the plain loops multiply.
double bfloat16_peak_gflops(int threads);

}  // namespace pyformer
