#include "pyformer/ops/adamw/adamw.h"

#include <cmath>

#include "pyformer/base/run.h"
#include "pyformer/ops/adamw/adamw_kernels.h"
#include "pyformer/ops/in_place/in_place.h"

namespace pyformer {

static void check_range(const char* what, double value, double limit) {
  if (!(value >= 0 && value < limit))
    throw ValueError(cat("adamw_step_: ", what, " must be >= 0 and ", limit == 1 ? "< 1" : "finite", ", got ", value));
}

void adamw_step_(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                 const std::vector<Tensor>& exp_avgs, const std::vector<Tensor>& exp_avg_sqs, double lr, double beta1,
                 double beta2, double eps, double weight_decay, int64_t step, const std::vector<Tensor>& masters) {
  constexpr double finite = HUGE_VAL;
  check_range("lr", lr, finite);
  check_range("beta1", beta1, 1);
  check_range("beta2", beta2, 1);
  check_range("eps", eps, finite);
  check_range("weight_decay", weight_decay, finite);
  if (step < 1) throw ValueError(cat("adamw_step_: step must be >= 1, got ", step));
  const std::vector<Tensor> no_masters(masters.empty() ? params.size() : 0);
  const std::vector<Tensor>& own = masters.empty() ? no_masters : masters;
  for (const Tensor& param : params)
    if (param.defined() && !is_float(param.dtype()))
      throw TypeError(cat("adamw_step_: params must be of float dtypes, got ", name(param.dtype())));
  begin_writing("adamw_step_", {{"params", params, true},
                                {"grads", grads, false, ListDType::accumulator},
                                {"exp_avgs", exp_avgs, true, ListDType::accumulator},
                                {"exp_avg_sqs", exp_avg_sqs, true, ListDType::accumulator},
                                {"masters", own, true, ListDType::masters}});
  if (params.empty()) return;
  PiecesByDType<AdamWPiece> pieces;
  for (const Piece& p : pieces_of(params)) {
    const auto at = [&](const std::vector<Tensor>& list) { return piece_at(list[p.tensor], p); };
    void* const master = own[p.tensor].defined() ? at(own) : at(params);
    pieces.add(params[p.tensor].dtype(), {at(params), master, at(grads), at(exp_avgs), at(exp_avg_sqs), p.count});
  }
  AdamWStep args = {};
  in_default_float_mode([&] {
    args.decay = 1 - lr * weight_decay;
    args.blend1 = 1 - beta1;
    args.beta2 = beta2;
    args.blend2 = 1 - beta2;
    args.correction = std::sqrt(1 - std::pow(beta2, double(step)));
    args.eps = eps;
    args.step_size = lr / (1 - std::pow(beta1, double(step)));
  });
  const DeferInterrupts to_the_end;
  pieces.for_each(params[0].device(), [&](DType dtype, const AdamWPiece* list, int64_t count) {
    args.pieces = list;
    args.count = count;
    run("adamw_step_", &AdamWTable::step, params[0].device(), dtype, args);
  });
}

}  // namespace pyformer
