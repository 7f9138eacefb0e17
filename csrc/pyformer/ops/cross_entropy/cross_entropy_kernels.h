// What cross_entropy's kernels see. Work item: one row.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

struct CrossEntropyForward {
  int64_t rows, cols;
  int64_t ignore_index;
  double label_smoothing;
  const void* logits;      // (rows, V)
  const int64_t* targets;  // (rows,)
  void* loss;              // (rows,), 0 where ignored; as max and log_sum in the accumulator's dtype
  void* max;               // (rows,)
  void* log_sum;           // (rows,)
  int64_t items() const { return rows; }
  int64_t grain() const { return grain_of_rows(cols); }
};

struct CrossEntropyBackward {
  int64_t rows, cols;
  int64_t ignore_index;
  double label_smoothing;
  const int64_t* counted;  // dlogits are divided by it, or by 1 where it is 0 or there is none (null)
  const void* dout;        // (rows,) or one number
  int64_t dout_stride;     // 1 or 0
  const void* logits;      // (rows, V)
  const int64_t* targets;  // (rows,)
  const void* max;         // (rows,)
  const void* log_sum;     // (rows,)
  void* dlogits;           // (rows, V); may be logits itself
  bool nontemporal;        // dlogits go past the caches
  int64_t items() const { return rows; }
  int64_t grain() const { return grain_of_rows(cols); }
};

// Both, a row after another: dlogits is logits itself.
struct CrossEntropyInPlace {
  CrossEntropyForward forward;
  CrossEntropyBackward backward;
  int64_t items() const { return forward.items(); }
  int64_t grain() const { return forward.grain(); }
};

static inline int64_t divisor_of(const CrossEntropyBackward& a) { return a.counted && *a.counted > 1 ? *a.counted : 1; }

struct CrossEntropyTable {
  static constexpr const char* name = "cross_entropy";
  PerDtype<Kernel<CrossEntropyForward>> forward;
  PerDtype<Kernel<CrossEntropyBackward>> backward;
  PerDtype<Kernel<CrossEntropyInPlace>> in_place;
};

}  // namespace pyformer
