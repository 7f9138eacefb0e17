// Table of contents: every operation, one folder each. Include this to use the library's ops from C++.
//
// Letters used in all contracts:
//   B batch   T tokens (Tq queries, Tk keys)   C channels = H * D   H heads (Hkv key heads)   D head width
//   V vocabulary   L layers   matmul: m, n, k   kernels: rows, cols
#pragma once
#include "pyformer/ops/layer_norm/layer_norm.h"
