// sgd_step_: one step of stochastic gradient descent over many tensors at once (momentum: Sutskever et al. 2013).
//
//   g      = grad + weight_decay * param
//   buffer = momentum * buffer + g,  g = nesterov ? g + momentum * buffer : buffer      with momentum buffers only
//   param  = param - lr * g
//
// momentum_buffers start as zeros; an empty list: no momentum. masters: as in adamw_step_. Params, buffers and masters
// are written after all is checked, and without interruption. Only products and sums: one plain kernel serves every
// instruction set.
#pragma once
#include <functional>

#include "pyformer/core/tensor.h"

namespace pyformer {

// As AdamWControl; `next` gives the lr of each replay.
struct SgdControl {
  std::function<double()> next;
  Tensor norm;
};

void sgd_step_(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
               const std::vector<Tensor>& momentum_buffers, double lr, double momentum, double weight_decay,
               bool nesterov, const std::vector<Tensor>& masters = {}, const SgdControl& control = {});

}  // namespace pyformer
