#include "pyformer/ops/adamw/adamw.h"

#include <cmath>

#include "pyformer/base/run.h"
#include "pyformer/core/graph_recording.h"
#include "pyformer/ops/adamw/adamw_kernels.h"
#include "pyformer/ops/in_place/in_place.h"

namespace pyformer {

static void check_range(const char* what, double value, double limit) {
  if (!(value >= 0 && value < limit))
    throw ValueError(cat("adamw_step_: ", what, " must be >= 0 and ", limit == 1 ? "< 1" : "finite", ", got ", value));
}

static AdamWCoefficients coefficients_of(const AdamWSettings& s) {
  AdamWCoefficients c = {};
  in_default_float_mode([&] {
    c.decay = 1 - s.lr * s.weight_decay;
    c.blend1 = 1 - s.beta1;
    c.beta2 = s.beta2;
    c.blend2 = 1 - s.beta2;
    c.correction = std::sqrt(1 - std::pow(s.beta2, s.step));
    c.eps = s.eps;
    c.step_size = s.lr / (1 - std::pow(s.beta1, s.step));
  });
  return c;
}

// Where the coefficients are decided on the device: sets args, and returns the memory that holds them.
static Array on_device(const AdamWControl& control, const AdamWSettings& settings, Device device, AdamWStep& args) {
  GraphRecording* const recording = GraphRecording::of(device);
  if (recording && !control.next) throw std::runtime_error("adamw_step_: a step that is recorded needs `next`");
  const auto next = [next = control.next] {
    const std::array<double, 6> n = next();
    return AdamWSettings{n[0], n[1], n[2], n[3], n[4], n[5]};
  };
  if (!control.norm.defined()) {
    if (recording) args.on_device = recording->number<AdamWCoefficients>([next] { return coefficients_of(next()); });
    return {};
  }
  const Array prepared = Array::empty({int64_t(sizeof(AdamWCoefficients))}, DType::uint8, device);
  args.norm = static_cast<const double*>(control.norm.array().raw());
  args.on_device = static_cast<const AdamWCoefficients*>(prepared.raw());
  run("adamw_step_", &AdamWTable::prepare, device, DType::float64,
      AdamWPrepare{settings, recording ? recording->number<AdamWSettings>(next) : nullptr,
                   static_cast<const int64_t*>(control.skipped.array().raw()),
                   static_cast<AdamWCoefficients*>(prepared.raw())});
  return prepared;
}

void adamw_step_(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                 const std::vector<Tensor>& exp_avgs, const std::vector<Tensor>& exp_avg_sqs, double lr, double beta1,
                 double beta2, double eps, double weight_decay, int64_t step, const std::vector<Tensor>& masters,
                 const AdamWControl& control) {
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
  const Device device = params[0].device();
  const AdamWSettings settings = {lr, beta1, beta2, eps, weight_decay, double(step)};
  AdamWStep args = {coefficients_of(settings), nullptr, 0, nullptr, nullptr};
  const Array prepared = on_device(control, settings, device, args);
  const DeferInterrupts to_the_end;
  pieces.for_each(device, [&](DType dtype, const AdamWPiece* list, int64_t count) {
    args.pieces = list;
    args.count = count;
    run("adamw_step_", &AdamWTable::step, device, dtype, args);
  });
}

}  // namespace pyformer
