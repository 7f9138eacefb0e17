#include "pyformer/ops/rope/rope.h"

#include "pyformer/base/dispatch.h"
#include "pyformer/base/thread_pool.h"
#include "pyformer/base/workspace.h"
#include "pyformer/core/ids.h"
#include "pyformer/core/partials.h"
#include "pyformer/ops/rope/rope_kernels.h"

namespace pyformer {

static const KernelSets<RopeKernels>& sets() {
  static const auto sets = kernel_sets<RopeKernels>([]<Isa isa>() { return &rope_kernels<isa>(); });
  return sets;
}

// (T,) or (B, T) as int64.
static Array checked_positions(const Array& x, const Array& positions) {
  const Shape shared = {x.dim(1)}, separate = {x.dim(0), x.dim(1)};
  if (!(positions.shape() == shared || positions.shape() == separate))
    throw ValueError(cat("rope: positions must be (T,) = ", shared.str(), " or (B, T) = ", separate.str(), ", got ",
                         positions.shape().str()));
  return int64_copy("rope", "positions", positions);
}

// (R,) as float64.
static Array checked_frequencies(const Array& x, const Array& frequencies) {
  float_index("rope", frequencies.dtype());
  if (frequencies.ndim() != 1 || frequencies.dim(0) > x.dim(3) / 2)
    throw ValueError(
        cat("rope: frequencies must be (R,) with 2 R at most D = ", x.dim(3), ", got ", frequencies.shape().str()));
  if (frequencies.dtype() == DType::float64) return frequencies;
  const Array wide = Array::empty(frequencies.shape(), DType::float64);
  for (int64_t i = 0; i < frequencies.size(); ++i) wide.data<double>()[i] = frequencies.data<float>()[i];
  return wide;
}

static Array turn(const Array& x, const Array& positions, const Array& frequencies, bool interleaved, bool backward) {
  const auto kernel = find_kernel("rope", sets(), &RopeKernels::turn, x.dtype());
  if (x.ndim() != 4) throw ValueError(cat("rope: x must be (B, T, H, D), got ", x.shape().str()));
  const Array where = checked_positions(x, positions), turns = checked_frequencies(x, frequencies);
  const Array out = Array::empty(x.shape(), x.dtype());
  const int64_t T = x.dim(1), pairs = turns.size(), workspace_bytes = 2 * pairs * item_bytes(x.dtype());
  const Rope args = {T,
                     x.dim(2),
                     x.dim(3),
                     pairs,
                     interleaved,
                     backward,
                     where.data<int64_t>(),
                     where.ndim() == 2 ? T : 0,
                     turns.data<double>(),
                     x.raw(),
                     out.raw(),
                     nullptr};
  parallel_for(x.dim(0) * T, grain_of_rows(x.dim(2) * x.dim(3)), [&](int64_t begin, int64_t end) {
    const Workspace workspace(workspace_bytes);
    Rope mine = args;
    mine.workspace = workspace.data();
    kernel(mine, begin, end);
  });
  return out;
}

Array rope_forward(const Array& x, const Array& positions, const Array& frequencies, bool interleaved) {
  return turn(x, positions, frequencies, interleaved, false);
}

Array rope_backward(const Array& dout, const Array& positions, const Array& frequencies, bool interleaved) {
  return turn(dout, positions, frequencies, interleaved, true);
}

Tensor rope(const Tensor& x, const Tensor& positions, const Tensor& frequencies, bool interleaved) {
  if (frequencies.requires_grad())
    throw ValueError("rope: frequencies have no gradient, got a tensor that requires it");
  return record("rope", {x}, rope_forward(x.array(), positions.array(), frequencies.array(), interleaved),
                [positions = save(positions), frequencies = save(frequencies), interleaved](const Array& dout,
                                                                                            const Needs&) -> Gradients {
                  return {rope_backward(dout, positions(), frequencies(), interleaved)};
                });
}

}  // namespace pyformer
