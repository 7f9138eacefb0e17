#include "pyformer/ops/linear/linear.h"

#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/core/precision.h"
#include "pyformer/ops/linear/linear_kernels.h"

namespace pyformer {

static void check_added(const char* which, const Array& operand, const Array& x, DType operands, DType wanted) {
  if (wanted == operands) return check_alike("linear", which, operand, "x", x);
  check_device("linear", which, operand, "x", x);
  if (operand.defined() && operand.dtype() != wanted)
    throw TypeError(cat("linear: ", which, " must be ", name(wanted), " as out is, got ", name(operand.dtype())));
}

// Checks everything and returns out's shape.
static Shape check(const Array& x, const Weight& weight, const Array& bias, const Array& residual, DType operands,
                   DType wanted) {
  check_operand("linear", "weight", weight.data, "x", x, operands, wanted);
  check_added("bias", bias, x, operands, wanted);
  check_added("residual", residual, x, operands, wanted);
  if (weight.format == Format::plain && weight.data.ndim() != 2)
    throw ValueError(cat("linear: weight must be (N, C), got ", weight.data.shape().str()));
  if (x.ndim() == 0 || x.shape().back() != weight.k)
    throw ValueError(cat("linear: x must be (..., C) = (..., ", weight.k, ") as weight is (", weight.n, ", ", weight.k,
                         "), got ", x.shape().str()));
  if (bias.defined() && !(bias.shape() == Shape{weight.n}))
    throw ValueError(cat("linear: bias must be (N,) = (", weight.n, ",), got ", bias.shape().str()));
  Shape out = x.shape();
  out[out.ndim() - 1] = weight.n;
  if (residual.defined() && !(residual.shape() == out))
    throw ValueError(cat("linear: residual must be as out, ", out.str(), ", got ", residual.shape().str()));
  return out;
}

LinearResult linear_forward(const Array& x, const Weight& weight, const Array& bias, Activation activation,
                            const Array& residual, bool need_preactivation, DType operands, DType wanted) {
  const Shape shape = check(x, weight, bias, residual, operands, wanted);
  LinearResult r = {x.like(shape, wanted), {}};
  if (need_preactivation && activation != Activation::none) r.preactivation = x.like(shape, wanted);
  Gemm g;
  g.dtype = operands;
  g.wide_c = wanted != operands;
  g.m = rows_of(x);
  g.a = operand_of(x, weight.k, false, operands);
  weight.set(g);
  g.c = r.out.raw();
  g.c_stride = g.n;
  g.epilogue.bias = bias.raw();
  g.epilogue.activation = activation;
  g.epilogue.preactivation = r.preactivation.raw();
  g.epilogue.residual = residual.raw();
  run("linear", &GemmTable::multiply, x.device(), operands, g);
  return r;
}

// The gradient before the activation, and dbias, in one pass; dpre is dout itself where there is no activation.
struct Before {
  Array dpre, dbias;
};
static Before gradient_before(const Array& dout, const Array& preactivation, Activation activation, bool need_dbias) {
  const bool acts = activation != Activation::none;
  Before r = {acts ? dout.like(dout.shape()) : dout, {}};
  if (!acts && !need_dbias) return r;
  LinearBackward args = {rows_of(dout),       dout.shape().back(),           activation, dout.raw(),
                         preactivation.raw(), acts ? r.dpre.raw() : nullptr, nullptr};
  const Array partials = need_dbias ? dout.like({args.chains(), args.cols}, accumulator(dout.dtype())) : Array();
  args.dbias = partials.raw();
  run("linear", &LinearTable::backward, dout, args);
  if (need_dbias) r.dbias = sum_partials(partials);
  return r;
}

// (1) dpre    = dout * activation'(preactivation)
// (2) dx      = dpre weight
// (3) dweight = dpre^T x
// (4) dbias   = sum over rows of dpre
LinearGradient linear_backward(const Array& dout, const Array& x, const Array& weight, const Array& preactivation,
                               Activation activation, bool need_dx, bool need_dweight, bool need_dbias,
                               DType operands) {
  LinearGradient r;
  if (!need_dx && !need_dweight && !need_dbias) return r;
  const Before before = gradient_before(dout, preactivation, activation, need_dbias);  // (1) and (4)
  r.dbias = before.dbias;
  const Array& dpre = before.dpre;
  const int64_t rows = rows_of(x), N = weight.dim(0), C = weight.dim(1);
  Gemm g;
  g.dtype = operands;
  g.n = C;
  g.c_stride = C;
  if (need_dx) {  // (2)
    r.dx = x.like(x.shape(), dout.dtype());
    g.wide_c = dout.dtype() != operands;
    g.m = rows;
    g.k = N;
    g.a = operand_of(dpre, N, false, operands);
    g.b = operand_of(weight, C, false, operands);
    g.c = r.dx.raw();
    run("linear", &GemmTable::multiply, x.device(), operands, g);
  }
  if (need_dweight) {  // (3)
    r.dweight = x.like(weight.shape(), accumulator(operands));
    g.wide_c = true;
    g.m = N;
    g.k = rows;
    g.a = operand_of(dpre, N, true, operands);
    g.b = operand_of(x, C, false, operands);
    g.c = r.dweight.raw();
    run("linear", &GemmTable::multiply, x.device(), operands, g);
  }
  return r;
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, Activation activation,
              const Tensor& residual) {
  if (has_narrow({bias, residual})) return linear(x, weight, widened(bias), activation, widened(residual));
  const bool recorded = needs_recording({x, weight, bias, residual});
  const Array a = unrounded_operand(x), b = unrounded_operand(weight);
  const DType operands = operand_dtype(a.dtype());
  LinearResult r =
      linear_forward(a, b, bias.array(), activation, residual.array(), recorded, operands, product_result(a));
  return record("linear", {x, weight, bias, residual}, r.out,
                [x = save(a), weight = save(b), preactivation = r.preactivation, activation, operands](
                    const Array& dout, const Needs& need) -> Gradients {
                  LinearGradient g = linear_backward(dout, x(), weight(), preactivation, activation, need[0], need[1],
                                                     need[2], operands);
                  return {g.dx, g.dweight, g.dbias, need[3] ? dout : Array()};
                });
}

PackedLinear::PackedLinear(Tensor weight, Tensor bias) : weight_(std::move(weight)), bias_(std::move(bias)) {
  if (weight_.ndim() != 2) throw ValueError(cat("linear: weight must be (N, C), got ", weight_.shape().str()));
}

std::shared_ptr<const Weight> PackedLinear::packed() {
  std::lock_guard lock(mutex_);
  const Array& weight = weight_.array();
  if (!packed_ || source_.storage_pointer() != weight.storage_pointer() || !packed_->is_current(weight)) {
    const NotRecording pause;  // packed once, not with every replay
    packed_.reset();
    source_ = weight;
    packed_ = std::make_shared<const Weight>(pyformer::packed("linear", weight));
  }
  return packed_;
}

Array PackedLinear::operator()(const Array& x, Activation activation, const Array& residual) {
  const Array a = unrounded_operand(x);
  const std::shared_ptr<const Weight> weight = packed();
  if (Recording* const r = recording()) r->keep(weight);
  return linear_forward(a, *weight, widened(bias_.array()), activation, widened(residual), false,
                        operand_dtype(a.dtype()), product_result(a))
      .out;
}

}  // namespace pyformer
