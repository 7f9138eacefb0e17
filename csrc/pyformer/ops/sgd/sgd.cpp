#include "pyformer/ops/sgd/sgd.h"

#include <cmath>

#include "pyformer/base/run.h"
#include "pyformer/core/graph_recording.h"
#include "pyformer/ops/in_place/in_place.h"
#include "pyformer/ops/sgd/sgd_kernels.h"

namespace pyformer {

static void check_number(const char* what, double value) {
  if (!(value >= 0 && value < HUGE_VAL))
    throw ValueError(cat("sgd_step_: ", what, " must be >= 0 and finite, got ", value));
}

void sgd_step_(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
               const std::vector<Tensor>& momentum_buffers, double lr, double momentum, double weight_decay,
               bool nesterov, const std::vector<Tensor>& masters, const SgdControl& control) {
  check_number("lr", lr);
  check_number("momentum", momentum);
  check_number("weight_decay", weight_decay);
  const bool has_momentum = !momentum_buffers.empty();
  if (!has_momentum && !params.empty() && (momentum != 0 || nesterov))
    throw ValueError("sgd_step_: momentum and nesterov need momentum_buffers, got none");
  const std::vector<Tensor> no_masters(masters.empty() ? params.size() : 0);
  const std::vector<Tensor>& own = masters.empty() ? no_masters : masters;
  for (const Tensor& param : params)
    if (param.defined() && !is_float(param.dtype()))
      throw TypeError(cat("sgd_step_: params must be of float dtypes, got ", name(param.dtype())));
  std::vector<TensorList> lists = {{"params", params, true},
                                   {"grads", grads, false, ListDType::accumulator},
                                   {"masters", own, true, ListDType::masters}};
  if (has_momentum) lists.push_back({"momentum_buffers", momentum_buffers, true, ListDType::accumulator});
  begin_writing("sgd_step_", lists);
  if (params.empty()) return;

  PiecesByDType<SgdPiece> pieces;
  for (const Piece& p : pieces_of(params)) {
    const auto at = [&](const std::vector<Tensor>& list) { return piece_at(list[p.tensor], p); };
    void* const master = own[p.tensor].defined() ? at(own) : at(params);
    pieces.add(params[p.tensor].dtype(),
               {at(params), master, at(grads), has_momentum ? at(momentum_buffers) : nullptr, p.count});
  }
  const Device device = params[0].device();
  GraphRecording* const recording = GraphRecording::of(device);
  if (recording && !control.next) throw std::runtime_error("sgd_step_: a step that is recorded needs `next`");
  const double* const lr_on_device = recording ? recording->number(control.next) : nullptr;
  const auto* const norm = static_cast<const double*>(control.norm.array().raw());
  const DeferInterrupts to_the_end;
  pieces.for_each(device, [&](DType dtype, const SgdPiece* list, int64_t count) {
    run("sgd_step_", &SgdTable::step, device, dtype,
        SgdStep{list, count, lr, momentum, weight_decay, nesterov, lr_on_device, norm});
  });
}

}  // namespace pyformer
