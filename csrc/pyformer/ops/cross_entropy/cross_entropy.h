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
#include "pyformer/core/tensor.h"

namespace pyformer {

enum class Reduction { mean, sum, none };
Reduction reduction_from_name(const char* op, const std::string& name);  // ValueError unless it is one of the three

struct CrossEntropyOptions {
  int64_t ignore_index = -100;
  Reduction reduction = Reduction::mean;
  double label_smoothing = 0.0;
};

// A copy of targets as int64 of `rows` elements, checked: ValueError, TypeError, IndexError. counted: those not
// ignored.
struct CheckedTargets {
  Array ids;
  int64_t counted;
};
CheckedTargets check_targets(const char* op, const Array& targets, const Shape& shape, int64_t classes,
                             const CrossEntropyOptions& options);

struct CrossEntropyResult {
  Array out;           // () or, for Reduction::none, the shape of targets
  Array max, log_sum;  // (rows,)
  CheckedTargets targets;
};
CrossEntropyResult cross_entropy_forward(const Array& logits, const Array& targets, const CrossEntropyOptions& options);
Array cross_entropy_backward(const Array& dout, const Array& logits, const CrossEntropyResult& forward,
                             const CrossEntropyOptions& options);

Tensor cross_entropy(const Tensor& logits, const Tensor& targets, const CrossEntropyOptions& options);

}  // namespace pyformer
