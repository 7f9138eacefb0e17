#include "pyformer/ops/adamw/adamw.h"

#include <cmath>

#include "pyformer/base/dispatch.h"
#include "pyformer/base/thread_pool.h"
#include "pyformer/ops/adamw/adamw_kernels.h"
#include "pyformer/ops/in_place/in_place.h"

namespace pyformer {

static const KernelSets<AdamWKernels>& sets() {
  static const auto sets = kernel_sets<AdamWKernels>([]<Isa isa>() { return &adamw_kernels<isa>(); });
  return sets;
}

static void check_range(const char* what, double value, double limit) {
  if (!(value >= 0 && value < limit))
    throw ValueError(cat("adamw_step_: ", what, " must be >= 0 and ", limit == 1 ? "< 1" : "finite", ", got ", value));
}

void adamw_step_(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                 const std::vector<Tensor>& exp_avgs, const std::vector<Tensor>& exp_avg_sqs, double lr, double beta1,
                 double beta2, double eps, double weight_decay, int64_t step) {
  constexpr double finite = HUGE_VAL;
  check_range("lr", lr, finite);
  check_range("beta1", beta1, 1);
  check_range("beta2", beta2, 1);
  check_range("eps", eps, finite);
  check_range("weight_decay", weight_decay, finite);
  if (step < 1) throw ValueError(cat("adamw_step_: step must be >= 1, got ", step));
  for (const Tensor& param : params) float_index("adamw_step_", param.dtype());

  std::vector<AdamWPiece> pieces[2];  // by dtype
  begin_writing("adamw_step_", {{"params", params, true},
                                {"grads", grads, false},
                                {"exp_avgs", exp_avgs, true},
                                {"exp_avg_sqs", exp_avg_sqs, true}});
  for (const Piece& p : pieces_of(params)) {
    const auto at = [&](const std::vector<Tensor>& list) {
      const Array& a = list[p.tensor].array();
      return static_cast<char*>(a.raw()) + p.begin * item_bytes(a.dtype());
    };
    pieces[int(params[p.tensor].dtype())].push_back({at(params), at(grads), at(exp_avgs), at(exp_avg_sqs), p.count});
  }
  const DeferInterrupts to_the_end;
  for (const DType dtype : {DType::float32, DType::float64}) {
    const auto kernel = find_kernel("adamw_step_", sets(), &AdamWKernels::step, dtype);
    const std::vector<AdamWPiece>& list = pieces[int(dtype)];
    AdamWStep args;
    in_default_float_mode([&] {
      args = {list.data(), 1 - lr * weight_decay,
              1 - beta1,   beta2,
              1 - beta2,   std::sqrt(1 - std::pow(beta2, double(step))),
              eps,         lr / (1 - std::pow(beta1, double(step)))};
    });
    parallel_for(int64_t(list.size()), 1, [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
  }
}

}  // namespace pyformer
