// adamw_step_: one step of Adam with decoupled weight decay over many tensors at once (Kingma, Ba 2015, algorithm 1;
// Loshchilov, Hutter 2019, algorithm 2).
//
//   param      = param * (1 - lr * weight_decay)
//   exp_avg    = exp_avg + (1 - beta1) * (grad - exp_avg)
//   exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad^2
//   param      = param - lr / (1 - beta1^step) * exp_avg / (sqrt(exp_avg_sq) / sqrt(1 - beta2^step) + eps)
//
// A finite gradient beyond 2^63 (in float64 2^511) counts as that: its square would be infinite, and so exp_avg_sq for
// ever, which would stop the parameter. An infinite or NaN gradient makes the parameter NaN.
// step counts from 1. Coefficients are computed in double and rounded once. Writes params, exp_avgs, exp_avg_sqs and
// masters, after all is checked and without interruption.
//
// A 16-bit parameter has a master, a float32 copy that is stepped in its place and then rounded into it. Where the
// parameter is no longer the master rounded, since it was written to after the step before, the master starts again
// from it. Its gradient and averages are float32. masters holds one for each of params, absent for float32 and float64;
// it may be empty where there are none.
#pragma once
#include <array>
#include <functional>

#include "pyformer/core/tensor.h"

namespace pyformer {

// What decides a step on a device, where the host can't wait for it.
struct AdamWControl {
  // Of a recording (graph_recording.h): lr, beta1, beta2, eps, weight_decay and step of each replay.
  std::function<std::array<double, 6>()> next;
  // (), float64: unless it is finite nothing is written; and (), int64: how many of the steps that were counted were
  // not taken. Both or none.
  Tensor norm, skipped;
};

void adamw_step_(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                 const std::vector<Tensor>& exp_avgs, const std::vector<Tensor>& exp_avg_sqs, double lr, double beta1,
                 double beta2, double eps, double weight_decay, int64_t step, const std::vector<Tensor>& masters = {},
                 const AdamWControl& control = {});

}  // namespace pyformer
