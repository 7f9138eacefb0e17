#include "pyformer/ops/cross_entropy/cross_entropy.h"

#include "pyformer/base/run.h"
#include "pyformer/core/arithmetic/checks.h"
#include "pyformer/core/precision.h"
#include "pyformer/ops/cross_entropy/cross_entropy_kernels.h"

namespace pyformer {

static const int64_t* numbers(const Array& array) { return static_cast<const int64_t*>(array.raw()); }

CheckedTargets check_targets(const char* op, const Array& targets, const Array& logits, const Shape& shape,
                             int64_t classes, const CrossEntropyOptions& options) {
  if (!(options.label_smoothing >= 0 && options.label_smoothing <= 1))
    throw ValueError(cat(op, ": label_smoothing must be from 0 to 1, got ", options.label_smoothing));
  check_device(op, "targets", targets, "logits", logits);
  if (!(targets.shape() == shape))
    throw ValueError(cat(op, ": targets must be ", shape.str(), ", a class for each row, got ", targets.shape().str()));
  const CheckedIds checked = checked_targets(op, targets, classes, options.ignore_index);
  return {checked.ids.reshape({targets.size()}), checked.counted};
}

static CrossEntropyForward forward_args(int64_t rows, int64_t cols, const CrossEntropyOptions& options) {
  CrossEntropyForward args = {};
  args.rows = rows;
  args.cols = cols;
  args.ignore_index = options.ignore_index;
  args.label_smoothing = options.label_smoothing;
  return args;
}

static CrossEntropyBackward backward_args(int64_t rows, int64_t cols, const CrossEntropyOptions& options) {
  CrossEntropyBackward args = {};
  args.rows = rows;
  args.cols = cols;
  args.ignore_index = options.ignore_index;
  args.label_smoothing = options.label_smoothing;
  return args;
}

CrossEntropyResult cross_entropy_forward(const Array& logits, const Array& targets,
                                         const CrossEntropyOptions& options) {
  if (logits.ndim() == 0 || logits.shape().back() == 0)
    throw ValueError(cat("cross_entropy: logits must be (..., V) with V >= 1, got ", logits.shape().str()));
  const Shape shape(logits.shape().begin(), logits.ndim() - 1);
  const int64_t rows = shape.size(), cols = logits.shape().back();
  const DType sums = accumulator(logits.dtype());
  CrossEntropyResult r = {{}, {}, {}, check_targets("cross_entropy", targets, logits, shape, cols, options)};
  r.max = logits.like({rows}, sums);
  r.log_sum = logits.like({rows}, sums);
  const Array losses = logits.like(shape, sums);
  CrossEntropyForward args = forward_args(rows, cols, options);
  args.logits = logits.raw();
  args.targets = numbers(r.targets.ids);
  args.loss = losses.raw();
  args.max = r.max.raw();
  args.log_sum = r.log_sum.raw();
  run("cross_entropy", &CrossEntropyTable::forward, logits, args);
  if (options.reduction != Reduction::mean) r.targets.counted = Array();
  r.out = reduced_loss("cross_entropy", losses, options.reduction, {r.targets.counted}, logits.dtype());
  return r;
}

Array cross_entropy_backward(const Array& dout, const Array& logits, const CrossEntropyResult& forward,
                             const CrossEntropyOptions& options) {
  const Array dlogits = logits.like(logits.shape());
  CrossEntropyBackward args = backward_args(forward.targets.ids.size(), logits.shape().back(), options);
  args.counted = numbers(forward.targets.counted);
  args.dout = dout.raw();
  args.dout_stride = options.reduction == Reduction::none;
  args.logits = logits.raw();
  args.targets = numbers(forward.targets.ids);
  args.max = forward.max.raw();
  args.log_sum = forward.log_sum.raw();
  args.dlogits = dlogits.raw();
  args.nontemporal = dlogits.bytes() >= kNontemporalToProducts;
  run("cross_entropy", &CrossEntropyTable::backward, logits, args);
  return dlogits;
}

void cross_entropy_in_place(const char* op, const Array& logits, const CrossEntropyRows& r,
                            const CrossEntropyOptions& options) {
  const int64_t cols = logits.shape().back();
  CrossEntropyInPlace args = {forward_args(r.rows, cols, options), backward_args(r.rows, cols, options)};
  args.forward.logits = args.backward.logits = args.backward.dlogits = logits.raw();
  args.forward.targets = args.backward.targets = r.targets;
  args.forward.loss = r.losses;
  args.forward.max = r.max;
  args.forward.log_sum = r.log_sum;
  if (!r.wants_gradient) return run(op, &CrossEntropyTable::forward, logits, args.forward);
  args.backward.max = r.max;
  args.backward.log_sum = r.log_sum;
  args.backward.counted = r.counted;
  args.backward.dout = r.dout;
  args.backward.dout_stride = r.dout_each;
  run(op, &CrossEntropyTable::in_place, logits, args);
}

Tensor cross_entropy(const Tensor& logits, const Tensor& targets, const CrossEntropyOptions& options) {
  if (has_narrow({logits})) return cross_entropy(widened(logits), targets, options);
  CrossEntropyResult r = cross_entropy_forward(logits.array(), targets.array(), options);
  const Array out = r.out;
  r.out = Array();
  return record("cross_entropy", {logits, targets}, out,
                [logits = save(logits), r, options](const Array& dout, const Needs&) -> Gradients {
                  return {cross_entropy_backward(dout, logits(), r, options), Array()};
                });
}

}  // namespace pyformer
