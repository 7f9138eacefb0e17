#include "pyformer/ops/linear/linear.h"

#include "pyformer/base/dispatch.h"
#include "pyformer/base/thread_pool.h"
#include "pyformer/core/partials.h"
#include "pyformer/ops/linear/linear_kernels.h"

namespace pyformer {

Activation activation_from_name(const std::string& wanted) {
  constexpr const char* names[] = {"none", "gelu", "gelu_tanh", "relu", "silu"};
  for (int i = 0; i < 5; ++i)
    if (wanted == names[i]) return Activation(i);
  throw ValueError(cat("activation: expected none, gelu, gelu_tanh, relu or silu, got '", wanted, "'"));
}

static void check_dtype(const char* which, const Array& array, const Array& x) {
  if (array.defined() && array.dtype() != x.dtype())
    throw TypeError(cat("linear: ", which, " must be ", name(x.dtype()), " as x is, got ", name(array.dtype())));
}

// Checks everything and returns out's shape.
static Shape check(const Array& x, const Array& weight, const Array& bias, const Array& residual) {
  float_index("linear", x.dtype());
  check_dtype("weight", weight, x);
  check_dtype("bias", bias, x);
  check_dtype("residual", residual, x);
  if (weight.ndim() != 2) throw ValueError(cat("linear: weight must be (N, C), got ", weight.shape().str()));
  if (x.ndim() == 0 || x.shape().back() != weight.dim(1))
    throw ValueError(cat("linear: x must be (..., C) = (..., ", weight.dim(1), ") as weight is ", weight.shape().str(),
                         ", got ", x.shape().str()));
  if (bias.defined() && !(bias.shape() == Shape{weight.dim(0)}))
    throw ValueError(cat("linear: bias must be (N,) = (", weight.dim(0), ",), got ", bias.shape().str()));
  Shape out = x.shape();
  out[out.ndim() - 1] = weight.dim(0);
  if (residual.defined() && !(residual.shape() == out))
    throw ValueError(cat("linear: residual must be as out, ", out.str(), ", got ", residual.shape().str()));
  return out;
}

static LinearResult forward(const Array& x, const Array& weight, const PackedMatrix* packed, const Array& bias,
                            Activation activation, const Array& residual, bool need_preactivation) {
  const Shape shape = check(x, weight, bias, residual);
  LinearResult r = {Array::empty(shape, x.dtype()), {}};
  if (need_preactivation && activation != Activation::none) r.preactivation = Array::empty(shape, x.dtype());
  Gemm g;
  g.dtype = x.dtype();
  g.m = rows_of(x);
  g.n = weight.dim(0);
  g.k = weight.dim(1);
  g.a = {x.raw(), g.k, false};
  g.b = {weight.raw(), g.k, true};
  g.packed_b = packed;
  g.c = r.out.raw();
  g.c_stride = g.n;
  g.epilogue.bias = bias.raw();
  g.epilogue.activation = activation;
  g.epilogue.preactivation = r.preactivation.raw();
  g.epilogue.residual = residual.raw();
  gemm(g);
  return r;
}

LinearResult linear_forward(const Array& x, const Array& weight, const Array& bias, Activation activation,
                            const Array& residual, bool need_preactivation) {
  return forward(x, weight, nullptr, bias, activation, residual, need_preactivation);
}

static const KernelSets<LinearKernels>& sets() {
  static const auto sets = kernel_sets<LinearKernels>([]<Isa isa>() { return &linear_kernels<isa>(); });
  return sets;
}

Array activate_(const Array& x, Activation activation) {
  constexpr int64_t kGrain = int64_t(1) << 14;
  const auto kernel = find_kernel("linear", sets(), &LinearKernels::activate, x.dtype());
  const Array out = Array::empty(x.shape(), x.dtype());
  const LinearActivate args = {activation, x.raw(), out.raw(), out.bytes() >= kNontemporalToProducts};
  parallel_for(x.size(), kGrain, [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
  return out;
}

// The gradient before the activation, and dbias, in one pass; dpre is dout itself where there is no activation.
struct Before {
  Array dpre, dbias;
};
static Before gradient_before(const Array& dout, const Array& preactivation, Activation activation, bool need_dbias) {
  const bool acts = activation != Activation::none;
  Before r = {acts ? Array::empty(dout.shape(), dout.dtype()) : dout, {}};
  if (!acts && !need_dbias) return r;
  const auto kernel = find_kernel("linear", sets(), &LinearKernels::backward, dout.dtype());
  const int64_t rows = rows_of(dout), cols = dout.shape().back();
  const int64_t chains = (rows + kChainLength - 1) / kChainLength;
  const int64_t ranges = (cols + LinearBackward::kColumns - 1) / LinearBackward::kColumns;
  const Array partials = need_dbias ? Array::empty({chains, cols}, dout.dtype()) : Array();
  const LinearBackward args = {
      rows, cols, ranges, activation, dout.raw(), preactivation.raw(), acts ? r.dpre.raw() : nullptr, partials.raw()};
  parallel_for(chains * ranges, 1, [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
  if (need_dbias) r.dbias = sum_partials(partials);
  return r;
}

// (1) dpre    = dout * activation'(preactivation)
// (2) dx      = dpre weight
// (3) dweight = dpre^T x
// (4) dbias   = sum over rows of dpre
LinearGradient linear_backward(const Array& dout, const Array& x, const Array& weight, const Array& preactivation,
                               Activation activation, bool need_dx, bool need_dweight, bool need_dbias) {
  LinearGradient r;
  if (!need_dx && !need_dweight && !need_dbias) return r;
  const Before before = gradient_before(dout, preactivation, activation, need_dbias);  // (1) and (4)
  r.dbias = before.dbias;
  const int64_t rows = rows_of(x), N = weight.dim(0), C = weight.dim(1);
  Gemm g;
  g.dtype = x.dtype();
  g.n = C;
  g.c_stride = C;
  if (need_dx) {  // (2)
    r.dx = Array::empty(x.shape(), x.dtype());
    g.m = rows;
    g.k = N;
    g.a = {before.dpre.raw(), N, false};
    g.b = {weight.raw(), C, false};
    g.c = r.dx.raw();
    gemm(g);
  }
  if (need_dweight) {  // (3)
    r.dweight = Array::empty(weight.shape(), x.dtype());
    g.m = N;
    g.k = rows;
    g.a = {before.dpre.raw(), N, true};
    g.b = {x.raw(), C, false};
    g.c = r.dweight.raw();
    gemm(g);
  }
  return r;
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, Activation activation,
              const Tensor& residual) {
  const bool recorded = needs_recording({x, weight, bias, residual});
  LinearResult r = linear_forward(x.array(), weight.array(), bias.array(), activation, residual.array(), recorded);
  return record("linear", {x, weight, bias, residual}, r.out,
                [x = save(x), weight = save(weight), preactivation = r.preactivation, activation](
                    const Array& dout, const Needs& need) -> Gradients {
                  LinearGradient g =
                      linear_backward(dout, x(), weight(), preactivation, activation, need[0], need[1], need[2]);
                  return {g.dx, g.dweight, g.dbias, need[3] ? dout : Array()};
                });
}

PackedLinear::PackedLinear(Array weight, Array bias) : weight_(std::move(weight)), bias_(std::move(bias)) {
  float_index("linear", weight_.dtype());
  if (weight_.ndim() != 2) throw ValueError(cat("linear: weight must be (N, C), got ", weight_.shape().str()));
}

bool PackedLinear::holds(const Array& weight, const Array& bias) const {
  return weight.storage_pointer() == weight_.storage_pointer() && weight.shape() == weight_.shape() &&
         bias.storage_pointer() == bias_.storage_pointer();
}

std::shared_ptr<const PackedMatrix> PackedLinear::packed() {
  std::lock_guard lock(mutex_);
  if (!packed_ || version_ != weight_.storage().version() || packed_->isa != current_isa()) {
    version_ = weight_.storage().version();
    packed_.reset();
    packed_ = std::make_shared<const PackedMatrix>(Operand{weight_.raw(), weight_.dim(1), true}, weight_.dim(1),
                                                   weight_.dim(0), weight_.dtype());
  }
  return packed_;
}

Array PackedLinear::operator()(const Array& x, Activation activation, const Array& residual) {
  const std::shared_ptr<const PackedMatrix> matrix = packed();
  return forward(x, weight_, matrix.get(), bias_, activation, residual, false).out;
}

}  // namespace pyformer
