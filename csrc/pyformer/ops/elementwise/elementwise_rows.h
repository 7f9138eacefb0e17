// Plain loops over the rows of an op of two operands, for *_ref.cpp.
#pragma once
#include "pyformer/base/element.h"
#include "pyformer/ops/elementwise/elementwise_kernels.h"

namespace pyformer::PF_ISA::elementwise {

// One row of the output; an operand that does not step is one element throughout.
using Row = void (*)(const void* a, bool steps_a, const void* b, bool steps_b, void* out, int64_t n);

template <class F, class T, class Out>
static void binary_row(const void* a_start, bool steps_a, const void* b_start, bool steps_b, void* out_start,
                       int64_t n) {
  const T *a = static_cast<const T*>(a_start), *b = static_cast<const T*>(b_start);
  Out* out = static_cast<Out*>(out_start);
  if (steps_a && steps_b) {
    for (int64_t i = 0; i < n; ++i) out[i] = F::at(widened(a[i]), widened(b[i]));
  } else if (steps_a) {
    for (int64_t i = 0; i < n; ++i) out[i] = F::at(widened(a[i]), widened(*b));
  } else {
    for (int64_t i = 0; i < n; ++i) out[i] = F::at(widened(*a), widened(b[i]));
  }
}

// Calls row for each row of [begin, end). Not inlined: it would be compiled again for each function and dtype.
static __attribute__((noinline)) void binary_rows(const Binary& args, int64_t begin, int64_t end, Row row,
                                                  int64_t item_bytes, int64_t out_bytes) {
  const Operands<2>& in = args.in;
  walk_rows(in, begin, end, [&](const int64_t* at, int64_t start, int64_t n) {
    row(static_cast<const char*>(in.data[0]) + at[0] * item_bytes, in.steps[0],
        static_cast<const char*>(in.data[1]) + at[1] * item_bytes, in.steps[1],
        static_cast<char*>(args.out) + start * out_bytes, n);
  });
}

}  // namespace pyformer::PF_ISA::elementwise
