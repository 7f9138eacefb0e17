// loss: what the losses share, their reductions.
//
// The losses of elements or rows are summed by the row-reduction rule, in float32 for 16-bit floats; mean divides the
// sum once, and the result is rounded once.
#pragma once
#include "pyformer/core/tensor.h"

namespace pyformer {

enum class Reduction { mean, sum, none };
Reduction reduction_from_name(const char* op, const std::string& name);  // ValueError unless it is one of the three

// What a mean divides by: how many losses count, known on the CPU or a number on their device, (), int64, of which 0
// stands for 1. Undefined and 1: a sum.
struct LossDivisor {
  Array counted;
  int64_t count = 1;
};
// The losses' sum divided, (), or for Reduction::none the losses themselves, in dtype.
Array reduced_loss(const char* op, const Array& losses, Reduction reduction, const LossDivisor& divisor, DType dtype);

}  // namespace pyformer
