// What softmax's kernels see. An array is (outer, cols, inner); work item: one of its outer * inner rows of cols
// elements, which lie inner apart.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

// Columns that vector code does together where inner > 1.
constexpr int64_t kSoftmaxStrip = 64;

struct SoftmaxShape {
  int64_t outer, cols, inner;
  int64_t items() const { return cols ? outer * inner : 0; }
  int64_t grain() const {  // down columns, a whole strip of them
    const int64_t rows = grain_of_rows(cols);
    return inner > 1 && rows < kSoftmaxStrip ? kSoftmaxStrip : rows;
  }
};

struct SoftmaxForward : SoftmaxShape {
  const void* x;
  void* out;
  bool nontemporal;         // out goes past the caches
  void* scratch = nullptr;  // where out is nontemporal, for exp: (cols, kSoftmaxStrip), or (cols,) where inner = 1
  int64_t scratch_bytes(DType dtype) const {
    if (!nontemporal || (inner == 1 && cols <= kReduceBlock)) return 0;
    return cols * (inner > 1 ? kSoftmaxStrip : 1) * item_bytes(dtype);
  }
};

struct SoftmaxBackward : SoftmaxShape {
  const void* dout;
  const void* saved;  // out; of 16-bit floats x, as their out is rounded
  void* dx;
  bool nontemporal;  // dx goes past the caches
};

struct SoftmaxTable {
  static constexpr const char* name = "softmax";
  PerDtype<Kernel<SoftmaxForward>> softmax_forward;
  PerDtype<Kernel<SoftmaxBackward>> softmax_backward;
  PerDtype<Kernel<SoftmaxForward>> log_softmax_forward;
  PerDtype<Kernel<SoftmaxBackward>> log_softmax_backward;
};

}  // namespace pyformer
