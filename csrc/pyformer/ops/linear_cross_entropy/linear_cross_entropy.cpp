#include "pyformer/ops/linear_cross_entropy/linear_cross_entropy.h"

#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/core/precision.h"
#include "pyformer/ops/linear_cross_entropy/linear_cross_entropy_kernels.h"
#include "pyformer/ops/matmul/operand.h"

namespace pyformer {

// The matrix unit multiplies faster than memory gives it the weights, which each chunk reads anew.
constexpr int64_t kLogitsBytes = 128 << 20, kBFloat16LogitsBytes = 256 << 20;

static void* at(const Array& array, int64_t element) {
  return array.defined() ? static_cast<char*>(array.raw()) + element * item_bytes(array.dtype()) : nullptr;
}
static const int64_t* ids(const Array& array) { return static_cast<const int64_t*>(array.raw()); }

static int64_t rows_per_chunk(int64_t classes, DType operands) {
  const int64_t wanted = operands == DType::bfloat16 ? kBFloat16LogitsBytes : kLogitsBytes;
  const int64_t fit = wanted / checked_multiply(classes * item_bytes(accumulator(operands)), kChainLength);
  return std::max<int64_t>(1, fit) * kChainLength;
}

// x for the gradient of the weight, where ignored rows count for nothing: their zeros of dlogits times an infinity or
// NaN would be NaN. x itself, unless there is one; on a device, that is not known here.
static Array without_ignored(const Array& x, const Array& targets, int64_t ignored) {
  const int64_t rows = targets.size(), cols = x.shape().back();
  if (x.device().is_cpu()) {
    int64_t found = 0;  // the host's: the loop is over when run returns
    run("linear_cross_entropy", &LinearCrossEntropyTable::find_ignored, x,
        FindIgnored{rows, cols, ignored, ids(targets), x.raw(), &found});
    if (!found) return x;
  }
  const Array out = x.like(x.shape());
  run("linear_cross_entropy", &LinearCrossEntropyTable::clear_ignored, x,
      ClearIgnored{rows, cols, ignored, ids(targets), x.raw(), out.raw()});
  return out;
}

// Whether an operand of two products is rounded here, once, and not for each: on a device, whose products round what
// they are given into memory of their own. Rows that do not start at multiples of 16 bytes are left to them.
static bool rounds_once(const Array& array, int64_t cols, DType operands) {
  return !array.device().is_cpu() && operands == DType::bfloat16 && array.dtype() != operands && cols % 8 == 0;
}

namespace {

// The loop over chunks of rows.
class ChunkLoop {
 public:
  ChunkLoop(const Array& x, const Array& weight, const Array& bias, const Array& targets, const Array& dout,
            const Array& counted, const CrossEntropyOptions& options, LinearCrossEntropyNeeds need, DType operands,
            DType wanted)
      : x_(x),
        counted_x_(need.dweight ? without_ignored(x, targets, options.ignore_index) : Array()),
        weight_(rounds_once(weight, weight.dim(1), operands) ? cast(weight, operands) : weight),
        bias_(bias.defined() ? cast(bias, accumulator(operands)) : bias),
        targets_(targets),
        counted_(counted),
        options_(options),
        need_(need),
        rows_(targets.size()),
        C_(weight.dim(1)),
        V_(weight.dim(0)),
        operands_(operands),
        wide_(accumulator(operands)),
        chunk_(std::min(rows_per_chunk(V_, operands), std::max<int64_t>(1, rows_))),
        has_each_dout_(dout.defined() && dout.size() > 1),
        dout_(dout.defined() ? cast(dout, wide_) : ones_like(x.like({1}, wide_))) {
    r_.loss = x.like({rows_}, wide_);
    if (need.dx) r_.dx = x.like(x.shape(), wanted);
    if (need.dweight) r_.dweight = rows_ ? x.like(weight.shape(), wide_) : x.zeros_like(weight.shape(), wide_);
    if (need.dbias) r_.dbias = x.zeros_like({V_}, wide_);
    logits_ = x.like({rows_ ? chunk_ : 0, V_}, wide_);
    max_ = x.like({chunk_}, wide_);
    log_sum_ = x.like({chunk_}, wide_);
  }

  LinearCrossEntropyResult run() {
    for (int64_t first = 0; first < rows_; first += chunk_) {
      const int64_t rows = std::min(chunk_, rows_ - first);
      compute_logits(first, rows);
      compute_loss(first, rows);
      if (need_.dbias) add_dbias(rows);
      if (!need_.dx && !need_.dweight) continue;
      const bool is_left = operands_ == DType::bfloat16 && !rounds_once(logits_, V_, operands_);
      const Array dlogits = is_left ? logits_ : cast(logits_, operands_);
      if (need_.dx) compute_dx(dlogits, first, rows);
      if (need_.dweight) add_dweight(dlogits, first, rows);
    }
    return std::move(r_);
  }

 private:
  Gemm product(int64_t m, int64_t n, int64_t k, const Operand& a, const Operand& b) const {
    Gemm g;
    g.dtype = operands_;
    g.m = m;
    g.n = n;
    g.k = k;
    g.a = a;
    g.b = b;
    g.c_stride = n;
    return g;
  }
  void multiply(const Gemm& g) const {
    pyformer::run("linear_cross_entropy", &GemmTable::multiply, x_.device(), operands_, g);
  }
  // Rows of an array from `first` on.
  Operand operand(const Array& array, int64_t first, int64_t cols, bool transposed = false) const {
    Operand o = operand_of(array, cols, transposed, operands_);
    o.data = at(array, first * cols);
    return o;
  }

  void compute_logits(int64_t first, int64_t rows) {
    Gemm g = product(rows, V_, C_, operand(x_, first, C_), operand(weight_, 0, C_, true));
    g.wide_c = true;
    g.c = logits_.raw();
    g.epilogue.bias = bias_.raw();
    multiply(g);
  }

  // Loss of each row; its logits become dlogits if any gradient is wanted.
  void compute_loss(int64_t first, int64_t rows) {
    const bool wants_gradient = need_.dx || need_.dweight || need_.dbias;
    cross_entropy_in_place(
        "linear_cross_entropy", logits_,
        {rows, ids(targets_) + first, at(r_.loss, first), wants_gradient, at(dout_, has_each_dout_ ? first : 0),
         has_each_dout_, ids(counted_), max_.raw(), log_sum_.raw()},
        options_);
  }

  void compute_dx(const Array& dlogits, int64_t first, int64_t rows) {
    Gemm g = product(rows, C_, V_, operand(dlogits, 0, V_), operand(weight_, 0, C_));
    g.wide_c = r_.dx.dtype() != operands_;
    g.c = at(r_.dx, first * C_);
    multiply(g);
  }

  void add_dweight(const Array& dlogits, int64_t first, int64_t rows) {
    Gemm g = product(V_, C_, rows, operand(dlogits, 0, V_, true), operand(counted_x_, first, C_));
    g.wide_c = true;
    g.c = r_.dweight.raw();
    g.continue_sum = first > 0;
    multiply(g);
  }

  void add_dbias(int64_t rows) {
    pyformer::run("linear_cross_entropy", &LinearCrossEntropyTable::add_column_chains, logits_,
                  AddColumnChains{rows, V_, logits_.raw(), r_.dbias.raw()});
  }

  const Array& x_;
  const Array counted_x_;  // x without the rows that are ignored
  const Array weight_;     // of the operands' dtype, or to be rounded by each product
  const Array bias_;       // of the logits' dtype
  const Array &targets_, &counted_;
  const CrossEntropyOptions& options_;
  const LinearCrossEntropyNeeds need_;
  const int64_t rows_, C_, V_;
  const DType operands_, wide_;  // wide: of logits, losses and sums
  const int64_t chunk_;
  const bool has_each_dout_;
  const Array dout_;
  Array logits_, max_, log_sum_;
  LinearCrossEntropyResult r_;
};

}  // namespace

LinearCrossEntropyResult linear_cross_entropy_rows(const Array& x, const Array& weight, const Array& bias,
                                                   const Array& targets, const Array& dout, const Array& counted,
                                                   const CrossEntropyOptions& options, LinearCrossEntropyNeeds need,
                                                   DType operands, DType wanted) {
  return ChunkLoop(x, weight, bias, targets, dout, counted, options, need, operands, wanted).run();
}

static void check(const Array& x, const Array& weight, const Array& bias, DType operands, DType wanted) {
  if (x.ndim() == 0 || weight.ndim() != 2 || weight.dim(0) == 0 || weight.dim(1) != x.shape().back())
    throw ValueError(cat("linear_cross_entropy: expected x (..., C) and weight (V, C) with V >= 1, got ",
                         x.shape().str(), " and ", weight.shape().str()));
  check_operand("linear_cross_entropy", "weight", weight, "x", x, operands, wanted);
  if (bias.defined() && !(bias.shape() == Shape{weight.dim(0)}))
    throw ValueError(cat("linear_cross_entropy: bias must be (V,) = (", weight.dim(0), ",), got ", bias.shape().str()));
  if (wanted == operands) return check_alike("linear_cross_entropy", "bias", bias, "x", x);
  check_device("linear_cross_entropy", "bias", bias, "x", x);
  if (bias.defined() && bias.dtype() != wanted)
    throw TypeError(cat("linear_cross_entropy: bias must be ", name(wanted), ", got ", name(bias.dtype())));
}

// By what dlogits, which are rounded to the operands' dtype, are multiplied: those of float16 would vanish.
static double unit_of(DType operands) { return operands == DType::float16 ? 16384.0 : 1.0; }

// gradient times factor, divided by unit and by the count, if there is one.
static void scale(const Array& gradient, const Array& factor, double unit, const Array& counted) {
  if (!gradient.defined()) return;
  const Array wide = cast(factor, accumulator(factor.dtype()));
  run("linear_cross_entropy", &LinearCrossEntropyTable::scale, gradient,
      ScaleGradient{gradient.size(), gradient.raw(), wide.raw(), unit, ids(counted)});
}

// Of float16 operands all gradients are float32, times unit_of, and of the sum of losses.
static LinearCrossEntropyResult losses_and_gradients(const Array& x, const Array& weight, const Array& bias,
                                                     const Array& targets, const Array& counted,
                                                     const CrossEntropyOptions& options, LinearCrossEntropyNeeds need,
                                                     DType operands, DType wanted) {
  if (operands != DType::float16)
    return linear_cross_entropy_rows(x, weight, bias, targets, {}, counted, options, need, operands, wanted);
  const Array unit = x.like({1}, DType::float32);
  fill_(unit, bits_of(unit_of(operands), DType::float32));
  return linear_cross_entropy_rows(x, weight, bias, targets, unit, {}, options, need, operands, DType::float32);
}

// One loss for each row: backward runs the loop again.
static Tensor row_losses(const Tensor& x, const Tensor& weight, const Tensor& targets, const Tensor& bias,
                         const CheckedTargets& checked, const CrossEntropyOptions& options) {
  const Array a = unrounded_operand(x), b = unrounded_operand(weight);
  const DType operands = operand_dtype(a.dtype()), wanted = product_result(a);
  const LinearCrossEntropyResult r =
      linear_cross_entropy_rows(a, b, bias.array(), checked.ids, {}, {}, options, {}, operands, wanted);
  return record("linear_cross_entropy", {x, weight, targets, bias}, cast(r.loss.reshape(targets.shape()), wanted),
                [x = save(a), weight = save(b), bias = save(bias), ids = checked.ids, options, operands, wanted](
                    const Array& dout, const Needs& need) -> Gradients {
                  LinearCrossEntropyResult g = linear_cross_entropy_rows(x(), weight(), bias(), ids, dout, {}, options,
                                                                         {need[0], need[1], need[3]}, operands, wanted);
                  return {g.dx, g.dweight, Array(), g.dbias};
                });
}

Tensor linear_cross_entropy(const Tensor& x, const Tensor& weight, const Tensor& targets, const Tensor& bias,
                            const CrossEntropyOptions& options) {
  if (has_narrow({bias})) return linear_cross_entropy(x, weight, targets, widened(bias), options);
  const Array a = unrounded_operand(x), b = unrounded_operand(weight);
  const DType operands = operand_dtype(a.dtype()), wanted = product_result(a);
  check(a, b, bias.array(), operands, wanted);
  const Shape shape(x.shape().begin(), x.ndim() - 1);
  const CheckedTargets checked =
      check_targets("linear_cross_entropy", targets.array(), x.array(), shape, weight.dim(0), options);
  if (options.reduction == Reduction::none) return row_losses(x, weight, targets, bias, checked, options);

  const Array counted = options.reduction == Reduction::mean ? checked.counted : Array();
  const bool records = needs_recording({x, weight, bias});
  const LinearCrossEntropyNeeds need = {records && x.requires_grad(), records && weight.requires_grad(),
                                        records && bias.requires_grad()};
  // Shared, so that backward can hand the gradients on without a copy.
  const auto r = std::make_shared<LinearCrossEntropyResult>(
      losses_and_gradients(a, b, bias.array(), checked.ids, counted, options, need, operands, wanted));
  const Array out = reduced_loss("linear_cross_entropy", r->loss, options.reduction, {counted}, wanted);
  r->loss = Array();
  return record("linear_cross_entropy", {x, weight, targets, bias}, out,
                [r, operands, wanted, divisor = operands == DType::float16 ? counted : Array()](
                    const Array& dout, const Needs&) -> Gradients {
                  for (const Array* gradient : {&r->dx, &r->dweight, &r->dbias})
                    scale(*gradient, dout, unit_of(operands), divisor);
                  if (r->dx.defined()) r->dx = cast(r->dx, wanted);
                  return {std::move(r->dx), std::move(r->dweight), Array(), std::move(r->dbias)};
                });
}

}  // namespace pyformer
