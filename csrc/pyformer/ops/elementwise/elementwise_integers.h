// The part of the elementwise table that is not of floats, for elementwise_ref.cpp.
#pragma once
#include "pyformer/ops/elementwise/elementwise_kernels.h"

namespace pyformer::PF_ISA::elementwise::integers {

// Adds the entries of integers and of bool, and comparisons.
ElementwiseTable with_integers(ElementwiseTable table);

}  // namespace pyformer::PF_ISA::elementwise::integers
