#include "pyformer/base/dispatch.h"
#include "pyformer/ops/sgd/sgd.h"

#include <cmath>

#include "pyformer/base/thread_pool.h"
#include "pyformer/ops/in_place/in_place.h"

namespace pyformer {

template <class T>
struct SgdStep {
  T lr, momentum, weight_decay;
  bool nesterov;

  void operator()(T* param, const T* grad, int64_t count) const {
    for (int64_t i = 0; i < count; ++i) param[i] = param[i] - lr * (grad[i] + weight_decay * param[i]);
  }
  void operator()(T* param, const T* grad, T* buffer, int64_t count) const {
    for (int64_t i = 0; i < count; ++i) {
      const T g = grad[i] + weight_decay * param[i];
      buffer[i] = momentum * buffer[i] + g;
      param[i] = param[i] - lr * (nesterov ? g + momentum * buffer[i] : buffer[i]);
    }
  }
};

template <class T>
static void step_piece(const SgdStep<T>& step, const Piece& p, const Tensor& param, const Tensor& grad,
                       const Tensor& buffer) {
  T* at = param.array().data<T>() + p.begin;
  const T* grad_at = grad.array().data<T>() + p.begin;
  if (buffer.defined())
    step(at, grad_at, buffer.array().data<T>() + p.begin, p.count);
  else
    step(at, grad_at, p.count);
}

static void check_number(const char* what, double value) {
  if (!(value >= 0 && value < HUGE_VAL))
    throw ValueError(cat("sgd_step_: ", what, " must be >= 0 and finite, got ", value));
}

void sgd_step_(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
               const std::vector<Tensor>& momentum_buffers, double lr, double momentum, double weight_decay,
               bool nesterov) {
  check_number("lr", lr);
  check_number("momentum", momentum);
  check_number("weight_decay", weight_decay);
  const bool has_momentum = !momentum_buffers.empty();
  if (!has_momentum && !params.empty() && (momentum != 0 || nesterov))
    throw ValueError("sgd_step_: momentum and nesterov need momentum_buffers, got none");
  for (const Tensor& param : params)
    if (!is_compute_float(param.dtype()))
      throw TypeError(cat("sgd_step_: expected float32 or float64, got ", name(param.dtype())));
  std::vector<TensorList> lists = {{"params", params, true}, {"grads", grads, false}};
  if (has_momentum) lists.push_back({"momentum_buffers", momentum_buffers, true});
  begin_writing("sgd_step_", lists);

  const SgdStep<double> step64 = {lr, momentum, weight_decay, nesterov};
  SgdStep<float> step32;
  in_default_float_mode([&] { step32 = {float(lr), float(momentum), float(weight_decay), nesterov}; });
  const std::vector<Piece> pieces = pieces_of(params);
  const DeferInterrupts to_the_end;
  parallel_for(int64_t(pieces.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Piece& p = pieces[size_t(i)];
      const Tensor &param = params[p.tensor], &grad = grads[p.tensor];
      const Tensor& buffer = has_momentum ? momentum_buffers[p.tensor] : Tensor();
      if (param.dtype() == DType::float64)
        step_piece(step64, p, param, grad, buffer);
      else
        step_piece(step32, p, param, grad, buffer);
    }
  });
}

}  // namespace pyformer
