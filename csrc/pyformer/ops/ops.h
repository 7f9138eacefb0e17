// Table of contents: every operation, one folder each. Include this to use the library's ops from C++.
//
// Letters used in all contracts:
//   B batch   T tokens (Tq queries, Tk keys)   C channels = H * D   H heads (Hkv key heads)   D head width
//   V vocabulary   L layers   matmul: m, n, k   kernels: rows, cols
#pragma once
#include "pyformer/ops/adamw/adamw.h"
#include "pyformer/ops/attention/attention.h"
#include "pyformer/ops/cache_append/cache_append.h"
#include "pyformer/ops/cast/cast.h"
#include "pyformer/ops/conv/conv.h"
#include "pyformer/ops/cross_entropy/cross_entropy.h"
#include "pyformer/ops/dropout/dropout.h"
#include "pyformer/ops/elementwise/elementwise.h"
#include "pyformer/ops/embedding/embedding.h"
#include "pyformer/ops/gather/gather.h"
#include "pyformer/ops/gelu/gelu.h"
#include "pyformer/ops/global_norm/global_norm.h"
#include "pyformer/ops/in_place/in_place.h"
#include "pyformer/ops/layer_norm/layer_norm.h"
#include "pyformer/ops/linear/linear.h"
#include "pyformer/ops/linear_cross_entropy/linear_cross_entropy.h"
#include "pyformer/ops/matmul/matmul.h"
#include "pyformer/ops/mlp/mlp.h"
#include "pyformer/ops/norm_linear/norm_linear.h"
#include "pyformer/ops/random/random.h"
#include "pyformer/ops/reduce/reduce.h"
#include "pyformer/ops/rms_norm/rms_norm.h"
#include "pyformer/ops/rope/rope.h"
#include "pyformer/ops/sgd/sgd.h"
#include "pyformer/ops/shape/shape.h"
#include "pyformer/ops/softmax/softmax.h"
