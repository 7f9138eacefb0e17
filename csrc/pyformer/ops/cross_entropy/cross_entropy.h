// cross_entropy: the mean, sum or list of -log softmax(logits)[target] over rows of logits (..., V).
//
//   lse  = m + log_sum,  m = max_v logits,  log_sum = log(sum_v exp(logits - m))
//   loss = (1 - s) * (lse - logits[target]) + s * mean_v(lse - logits),  s = label_smoothing
//
// targets is (...), int64 or int32, with 0 <= target < V or target == ignore_index: such a row gives 0 and no gradient,
// whatever its logits are, and does not count in the mean; with every row ignored the mean is 0.
// Saved for backward: logits, targets and per row lse, as its two terms so that large logits lose nothing; backward
// recomputes the softmax. Order of sums: the row-reduction rule over V, and over the rows' losses.
#pragma once
#include "pyformer/ops/loss/loss.h"

namespace pyformer {

struct CrossEntropyOptions {
  int64_t ignore_index = -100;
  Reduction reduction = Reduction::mean;
  double label_smoothing = 0.0;
};

// A copy of targets as int64 of `rows` elements, checked: ValueError, TypeError, IndexError. counted: how many are not
// ignored, () int64.
struct CheckedTargets {
  Array ids, counted;
};
CheckedTargets check_targets(const char* op, const Array& targets, const Array& logits, const Shape& shape,
                             int64_t classes, const CrossEntropyOptions& options);

struct CrossEntropyResult {
  Array out;           // () or, for Reduction::none, the shape of targets
  Array max, log_sum;  // (rows,), float32 for 16-bit logits
  CheckedTargets targets;
};
CrossEntropyResult cross_entropy_forward(const Array& logits, const Array& targets, const CrossEntropyOptions& options);
Array cross_entropy_backward(const Array& dout, const Array& logits, const CrossEntropyResult& forward,
                             const CrossEntropyOptions& options);

// For losses that make their logits a chunk of rows at a time: the losses of the first `rows` rows of logits (..., V)
// and, where wanted, the gradient by those logits in their place, a row after another.
struct CrossEntropyRows {
  int64_t rows;
  const int64_t* targets;  // checked
  void* losses;            // in the accumulator of the logits' dtype
  bool wants_gradient;
  const void* dout;  // one number, or one for each row where dout_each
  bool dout_each;
  const int64_t* counted;  // what the gradient is divided by, at least 1; null: nothing
  void* max;               // memory for as many numbers as there are rows, likewise log_sum
  void* log_sum;
};
void cross_entropy_in_place(const char* op, const Array& logits, const CrossEntropyRows& rows,
                            const CrossEntropyOptions& options);

Tensor cross_entropy(const Tensor& logits, const Tensor& targets, const CrossEntropyOptions& options);

}  // namespace pyformer
