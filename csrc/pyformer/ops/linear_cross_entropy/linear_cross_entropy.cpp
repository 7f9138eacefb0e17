#include "pyformer/ops/linear_cross_entropy/linear_cross_entropy.h"

#include "pyformer/base/dispatch.h"
#include "pyformer/base/thread_pool.h"
#include "pyformer/core/accumulate.h"
#include "pyformer/core/partials.h"
#include "pyformer/ops/matmul/gemm.h"

namespace pyformer {

constexpr int64_t kLogitsBytes = 128 << 20;

static void* at(const Array& array, int64_t element) {
  return array.defined() ? static_cast<char*>(array.raw()) + element * item_bytes(array.dtype()) : nullptr;
}

static int64_t rows_per_chunk(int64_t classes, DType dtype) {
  const int64_t fit = kLogitsBytes / checked_multiply(classes * item_bytes(dtype), kChainLength);
  return std::max<int64_t>(1, fit) * kChainLength;
}

// sum += the chain of additions over `rows` rows of x (rows, cols).
template <class T>
static void add_column_chain(const T* x, int64_t rows, int64_t cols, T* sum) {
  constexpr int64_t kColumns = 1024;
  parallel_for((cols + kColumns - 1) / kColumns, 1, [&](int64_t begin, int64_t end) {
    for (int64_t first = begin * kColumns; first < std::min(cols, end * kColumns); first += kColumns) {
      const int64_t count = std::min(kColumns, cols - first);
      T chain[kColumns] = {};
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < count; ++c) chain[c] = chain[c] + x[r * cols + first + c];
      for (int64_t c = 0; c < count; ++c) sum[first + c] = sum[first + c] + chain[c];
    }
  });
}

namespace {

// The loop over chunks of rows.
class ChunkLoop {
 public:
  ChunkLoop(const Array& x, const Array& weight, const Array& bias, const Array& targets, const Array& dout,
            const Array& counted, const CrossEntropyOptions& options, LinearCrossEntropyNeeds need)
      : x_(x),
        weight_(weight),
        bias_(bias),
        targets_(targets),
        dout_(dout),
        counted_(counted),
        options_(options),
        need_(need),
        rows_(targets.size()),
        C_(weight.dim(1)),
        V_(weight.dim(0)),
        dtype_(x.dtype()),
        chunk_(std::min(rows_per_chunk(V_, dtype_), std::max<int64_t>(1, rows_))),
        one_(ones_like(Array::empty({1}, dtype_))) {
    r_.loss = Array::empty({rows_}, dtype_);
    if (need.dx) r_.dx = Array::empty(x.shape(), dtype_);
    if (need.dweight) r_.dweight = rows_ ? Array::empty(weight.shape(), dtype_) : Array::zeros(weight.shape(), dtype_);
    if (need.dbias) r_.dbias = Array::zeros({V_}, dtype_);
    logits_ = Array::empty({rows_ ? chunk_ : 0, V_}, dtype_);
    max_ = Array::empty({chunk_}, dtype_);
    log_sum_ = Array::empty({chunk_}, dtype_);
  }

  LinearCrossEntropyResult run() {
    for (int64_t first = 0; first < rows_; first += chunk_) {
      const int64_t rows = std::min(chunk_, rows_ - first);
      compute_logits(first, rows);
      compute_loss(first, rows);
      if (need_.dx) compute_dx(first, rows);
      if (need_.dweight) add_dweight(first, rows);
      if (need_.dbias) add_dbias(rows);
    }
    return std::move(r_);
  }

 private:
  Gemm product(int64_t m, int64_t n, int64_t k) const {
    Gemm g;
    g.dtype = dtype_;
    g.m = m;
    g.n = n;
    g.k = k;
    return g;
  }

  void compute_logits(int64_t first, int64_t rows) {
    Gemm g = product(rows, V_, C_);
    g.a = {at(x_, first * C_), C_};
    g.b = {weight_.raw(), C_, true};
    g.c = logits_.raw();
    g.c_stride = V_;
    g.epilogue.bias = bias_.raw();
    pyformer::run("linear_cross_entropy", &GemmTable::multiply, x_, g);
  }

  // Loss of each row; its logits become dlogits if any gradient is wanted.
  void compute_loss(int64_t first, int64_t rows) {
    const bool wants_gradient = need_.dx || need_.dweight || need_.dbias;
    cross_entropy_in_place("linear_cross_entropy", logits_,
                           {rows, targets_.data<int64_t>() + first, at(r_.loss, first), wants_gradient,
                            dout_.defined() ? at(dout_, first) : one_.raw(), dout_.defined(),
                            static_cast<const int64_t*>(counted_.raw()), max_.raw(), log_sum_.raw()},
                           options_);
  }

  void compute_dx(int64_t first, int64_t rows) {
    Gemm g = product(rows, C_, V_);
    g.a = {logits_.raw(), V_};
    g.b = {weight_.raw(), C_};
    g.c = at(r_.dx, first * C_);
    g.c_stride = C_;
    pyformer::run("linear_cross_entropy", &GemmTable::multiply, x_, g);
  }

  void add_dweight(int64_t first, int64_t rows) {
    Gemm g = product(V_, C_, rows);
    g.a = {logits_.raw(), V_, true};
    g.b = {at(x_, first * C_), C_};
    g.c = r_.dweight.raw();
    g.c_stride = C_;
    g.continue_sum = first > 0;
    pyformer::run("linear_cross_entropy", &GemmTable::multiply, x_, g);
  }

  void add_dbias(int64_t rows) {
    for (int64_t start = 0; start < rows; start += kChainLength) {
      const int64_t count = std::min(kChainLength, rows - start);
      if (dtype_ == DType::float64)
        add_column_chain(logits_.data<double>() + start * V_, count, V_, r_.dbias.data<double>());
      else
        add_column_chain(logits_.data<float>() + start * V_, count, V_, r_.dbias.data<float>());
    }
  }

  const Array &x_, &weight_, &bias_, &targets_, &dout_;
  const Array counted_;
  const CrossEntropyOptions& options_;
  const LinearCrossEntropyNeeds need_;
  const int64_t rows_, C_, V_;
  const DType dtype_;
  const int64_t chunk_;
  const Array one_;
  Array logits_, max_, log_sum_;
  LinearCrossEntropyResult r_;
};

}  // namespace

LinearCrossEntropyResult linear_cross_entropy_rows(const Array& x, const Array& weight, const Array& bias,
                                                   const Array& targets, const Array& dout, const Array& counted,
                                                   const CrossEntropyOptions& options, LinearCrossEntropyNeeds need) {
  return ChunkLoop(x, weight, bias, targets, dout, counted, options, need).run();
}

static void check(const Array& x, const Array& weight, const Array& bias) {
  float_index("linear_cross_entropy", x.dtype());
  if (x.ndim() == 0 || weight.ndim() != 2 || weight.dim(0) == 0 || weight.dim(1) != x.shape().back())
    throw ValueError(cat("linear_cross_entropy: expected x (..., C) and weight (V, C) with V >= 1, got ",
                         x.shape().str(), " and ", weight.shape().str()));
  if (weight.dtype() != x.dtype())
    throw TypeError(
        cat("linear_cross_entropy: weight must be ", name(x.dtype()), " as x is, got ", name(weight.dtype())));
  if (!bias.defined()) return;
  if (bias.ndim() != 1 || bias.dim(0) != weight.dim(0))
    throw ValueError(cat("linear_cross_entropy: bias must be (V,) = (", weight.dim(0), ",), got ", bias.shape().str()));
  if (bias.dtype() != x.dtype())
    throw TypeError(cat("linear_cross_entropy: bias must be ", name(x.dtype()), " as x is, got ", name(bias.dtype())));
}

template <class T>
static void scale_elements(T* x, int64_t size, T factor) {
  constexpr int64_t kGrain = 1 << 15;
  if (factor == T(1)) return;
  parallel_for(size, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) x[i] = x[i] * factor;
  });
}

static void scale(const Array& array, const Array& factor) {
  if (!array.defined()) return;
  if (array.dtype() == DType::float64)
    scale_elements(array.data<double>(), array.size(), *factor.data<double>());
  else
    scale_elements(array.data<float>(), array.size(), *factor.data<float>());
}

// One loss for each row: backward runs the loop again.
static Tensor row_losses(const Tensor& x, const Tensor& weight, const Tensor& targets, const Tensor& bias,
                         const CheckedTargets& checked, const CrossEntropyOptions& options) {
  const LinearCrossEntropyResult r =
      linear_cross_entropy_rows(x.array(), weight.array(), bias.array(), checked.ids, {}, {}, options, {});
  return record("linear_cross_entropy", {x, weight, targets, bias}, r.loss.reshape(targets.shape()),
                [x = save(x), weight = save(weight), bias = save(bias), ids = checked.ids, options](
                    const Array& dout, const Needs& need) -> Gradients {
                  LinearCrossEntropyResult g = linear_cross_entropy_rows(x(), weight(), bias(), ids, dout, {}, options,
                                                                         {need[0], need[1], need[3]});
                  return {g.dx, g.dweight, Array(), g.dbias};
                });
}

Tensor linear_cross_entropy(const Tensor& x, const Tensor& weight, const Tensor& targets, const Tensor& bias,
                            const CrossEntropyOptions& options) {
  check(x.array(), weight.array(), bias.array());
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
      linear_cross_entropy_rows(x.array(), weight.array(), bias.array(), checked.ids, {}, counted, options, need));
  const Array out = reduced_loss("linear_cross_entropy", r->loss, options.reduction, {counted}, x.dtype());
  r->loss = Array();
  return record("linear_cross_entropy", {x, weight, targets, bias}, out,
                [r](const Array& dout, const Needs&) -> Gradients {
                  for (const Array* gradient : {&r->dx, &r->dweight, &r->dbias}) scale(*gradient, dout);
                  return {std::move(r->dx), std::move(r->dweight), Array(), std::move(r->dbias)};
                });
}

}  // namespace pyformer
