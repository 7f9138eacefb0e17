#include "pyformer/ops/cross_entropy/cross_entropy.h"

#include "pyformer/base/dispatch.h"
#include "pyformer/base/thread_pool.h"
#include "pyformer/core/ids.h"
#include "pyformer/core/partials.h"
#include "pyformer/ops/cross_entropy/cross_entropy_kernels.h"
#include "pyformer/ops/reduce/reduce.h"

namespace pyformer {

static const KernelSets<CrossEntropyKernels>& sets() {
  static const auto sets = kernel_sets<CrossEntropyKernels>([]<Isa isa>() { return &cross_entropy_kernels<isa>(); });
  return sets;
}

Reduction reduction_from_name(const char* op, const std::string& name) {
  if (name == "mean") return Reduction::mean;
  if (name == "sum") return Reduction::sum;
  if (name == "none") return Reduction::none;
  throw ValueError(cat(op, ": reduction must be 'mean', 'sum' or 'none', got '", name, "'"));
}

// "[3]", "[1, 2]": where element `flat` of an array of this shape stands.
static std::string position(const Shape& shape, int64_t flat) {
  std::string s;
  for (int i = shape.ndim() - 1; i >= 0; --i) {
    s = std::to_string(flat % shape[i]) + (s.empty() ? "" : ", ") + s;
    flat /= shape[i];
  }
  return "[" + s + "]";
}

CheckedTargets check_targets(const char* op, const Array& targets, const Shape& shape, int64_t classes,
                             const CrossEntropyOptions& options) {
  if (!(options.label_smoothing >= 0 && options.label_smoothing <= 1))
    throw ValueError(cat(op, ": label_smoothing must be from 0 to 1, got ", options.label_smoothing));
  if (!(targets.shape() == shape))
    throw ValueError(cat(op, ": targets must be ", shape.str(), ", a class for each row, got ", targets.shape().str()));
  CheckedTargets checked = {int64_copy(op, "targets", targets).reshape({targets.size()}), 0};
  const int64_t* id = checked.ids.data<int64_t>();
  for (int64_t i = 0; i < targets.size(); ++i) {
    if (id[i] == options.ignore_index) continue;
    if (id[i] < 0 || id[i] >= classes)
      throw IndexError(cat(op, ": targets", position(shape, i), " is ", id[i], ", expected 0 <= target < ", classes,
                           " or ignore_index = ", options.ignore_index));
    ++checked.counted;
  }
  return checked;
}

static double divisor_of(const CheckedTargets& targets, Reduction reduction) {
  return reduction == Reduction::mean ? double(std::max<int64_t>(1, targets.counted)) : 1.0;
}

template <class T>
static void divide_one(const Array& number, double divisor) {
  T* value = number.data<T>();
  parallel_for(1, 1, [&](int64_t, int64_t) { *value = *value / T(divisor); });
}

CrossEntropyResult cross_entropy_forward(const Array& logits, const Array& targets,
                                         const CrossEntropyOptions& options) {
  const auto kernel = find_kernel("cross_entropy", sets(), &CrossEntropyKernels::forward, logits.dtype());
  if (logits.ndim() == 0 || logits.shape().back() == 0)
    throw ValueError(cat("cross_entropy: logits must be (..., V) with V >= 1, got ", logits.shape().str()));
  const Shape shape(logits.shape().begin(), logits.ndim() - 1);
  const int64_t rows = shape.size(), cols = logits.shape().back();
  CrossEntropyResult r = {{}, {}, {}, check_targets("cross_entropy", targets, shape, cols, options)};
  r.max = Array::empty({rows}, logits.dtype());
  r.log_sum = Array::empty({rows}, logits.dtype());
  const Array loss = Array::empty(shape, logits.dtype());
  const CrossEntropyForward args = {
      cols,       options.ignore_index, options.label_smoothing, logits.raw(), r.targets.ids.data<int64_t>(),
      loss.raw(), r.max.raw(),          r.log_sum.raw()};
  parallel_for(rows, grain_of_rows(cols), [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
  if (options.reduction == Reduction::none) {
    r.out = loss;
    return r;
  }
  r.out = sum_forward(loss.reshape({rows}), std::nullopt, false);
  if (logits.dtype() == DType::float64)
    divide_one<double>(r.out, divisor_of(r.targets, options.reduction));
  else
    divide_one<float>(r.out, divisor_of(r.targets, options.reduction));
  return r;
}

Array cross_entropy_backward(const Array& dout, const Array& logits, const CrossEntropyResult& forward,
                             const CrossEntropyOptions& options) {
  const auto kernel = find_kernel("cross_entropy", sets(), &CrossEntropyKernels::backward, logits.dtype());
  const int64_t rows = forward.targets.ids.size(), cols = logits.shape().back();
  const Array dlogits = Array::empty(logits.shape(), logits.dtype());
  const CrossEntropyBackward args = {cols,
                                     options.ignore_index,
                                     options.label_smoothing,
                                     divisor_of(forward.targets, options.reduction),
                                     dout.raw(),
                                     options.reduction == Reduction::none,
                                     logits.raw(),
                                     forward.targets.ids.data<int64_t>(),
                                     forward.max.raw(),
                                     forward.log_sum.raw(),
                                     dlogits.raw(),
                                     dlogits.bytes() >= kNontemporalToProducts};
  parallel_for(rows, grain_of_rows(cols), [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
  return dlogits;
}

Tensor cross_entropy(const Tensor& logits, const Tensor& targets, const CrossEntropyOptions& options) {
  CrossEntropyResult r = cross_entropy_forward(logits.array(), targets.array(), options);
  const Array out = r.out;
  r.out = Array();
  return record("cross_entropy", {logits, targets}, out,
                [logits = save(logits), r, options](const Array& dout, const Needs&) -> Gradients {
                  return {cross_entropy_backward(dout, logits(), r, options), Array()};
                });
}

}  // namespace pyformer
