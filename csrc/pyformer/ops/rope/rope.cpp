#include "pyformer/ops/rope/rope.h"

#include "pyformer/base/run.h"
#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/core/precision.h"
#include "pyformer/ops/rope/rope_kernels.h"

namespace pyformer {

// (T,) or (B, T) as int64.
static Array checked_positions(const Array& x, const Array& positions) {
  const Shape shared = {x.dim(1)}, separate = {x.dim(0), x.dim(1)};
  if (!(positions.shape() == shared || positions.shape() == separate))
    throw ValueError(cat("rope: positions must be (T,) = ", shared.str(), " or (B, T) = ", separate.str(), ", got ",
                         positions.shape().str()));
  check_device("rope", "positions", positions, "x", x);
  return int64_copy("rope", "positions", positions);
}

// (R,) as float64.
static Array checked_frequencies(const Array& x, const Array& frequencies) {
  if (!is_float(frequencies.dtype()))
    throw TypeError(cat("rope: frequencies must be of a float dtype, got ", name(frequencies.dtype())));
  check_device("rope", "frequencies", frequencies, "x", x);
  if (frequencies.ndim() != 1 || frequencies.dim(0) > x.dim(3) / 2)
    throw ValueError(
        cat("rope: frequencies must be (R,) with 2 R at most D = ", x.dim(3), ", got ", frequencies.shape().str()));
  return cast(frequencies, DType::float64);
}

static Array turn(const Array& x, const Array& positions, const Array& frequencies, bool interleaved, bool backward) {
  if (x.ndim() != 4) throw ValueError(cat("rope: x must be (B, T, H, D), got ", x.shape().str()));
  const Array where = checked_positions(x, positions), turns = checked_frequencies(x, frequencies);
  const Array out = x.like(x.shape());
  const int64_t T = x.dim(1);
  run("rope", &RopeTable::turn, x,
      Rope{x.dim(0), T, x.dim(2), x.dim(3), turns.size(), interleaved, backward,
           static_cast<const int64_t*>(where.raw()), where.ndim() == 2 ? T : 0, static_cast<const double*>(turns.raw()),
           x.raw(), out.raw()});
  return out;
}

Array rope_forward(const Array& x, const Array& positions, const Array& frequencies, bool interleaved) {
  return turn(x, positions, frequencies, interleaved, false);
}

Array rope_backward(const Array& dout, const Array& positions, const Array& frequencies, bool interleaved) {
  return turn(dout, positions, frequencies, interleaved, true);
}

Tensor rope(const Tensor& x, const Tensor& positions, const Tensor& frequencies, bool interleaved) {
  if (has_narrow({x, frequencies})) return rope(widened(x), positions, widened(frequencies), interleaved);
  if (frequencies.requires_grad())
    throw ValueError("rope: frequencies have no gradient, got a tensor that requires it");
  return record("rope", {x}, rope_forward(x.array(), positions.array(), frequencies.array(), interleaved),
                [positions = save(positions), frequencies = save(frequencies), interleaved](const Array& dout,
                                                                                            const Needs&) -> Gradients {
                  return {rope_backward(dout, positions(), frequencies(), interleaved)};
                });
}

}  // namespace pyformer
