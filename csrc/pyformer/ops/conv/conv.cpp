#include "pyformer/ops/conv/conv.h"

#include <limits>

#include "pyformer/base/run.h"
#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/core/precision.h"
#include "pyformer/ops/conv/conv_kernels.h"
#include "pyformer/ops/reduce/reduce.h"
#include "pyformer/ops/shape/shape.h"

namespace pyformer {

namespace {

// ---- checks -----------------------------------------------------------------------------------------------------

void check_range(const char* op, const char* what, int64_t value, int64_t least) {
  constexpr int64_t most = std::numeric_limits<int32_t>::max();
  if (value < least || value > most)
    throw ValueError(cat(op, ": ", what, " must be from ", least, " to ", most, ", got ", value));
}

// A shape as the caller sees it: without the last axis where the op has one axis less.
std::string shown(const Shape& shape, int axes) { return Shape(shape.begin(), std::min(shape.ndim(), 2 + axes)).str(); }

struct Checked {
  bool rounds;  // in mixed precision
  ConvGeometry g;
  Shape image, result;
};

Checked checked(const char* op, const Array& x, const Array& weight, const Array& bias, const ConvOptions& options,
                bool transposed, int axes = 2) {
  const char* rest = axes == 1 ? "T)" : "H, W)";
  if (x.ndim() != 4) throw ValueError(cat(op, ": x must be (N, C, ", rest, ", got ", x.shape().str()));
  if (weight.ndim() != 4)
    throw ValueError(cat(op, ": weight must be (", transposed ? "in, out / groups" : "out, in / groups",
                         axes == 1 ? ", K), got " : ", KH, KW), got ", weight.shape().str()));
  check_alike(op, "weight", weight, "x", x);
  check_alike(op, "bias", bias, "x", x);
  for (int i = 0; i < axes; ++i) {
    check_range(op, "stride", options.stride[i], 1);
    check_range(op, "padding", options.padding[i], 0);
    check_range(op, "dilation", options.dilation[i], 1);
    check_range(op, "output_padding", options.output_padding[i], 0);
    if (transposed && options.output_padding[i] >= std::max(options.stride[i], options.dilation[i]))
      throw ValueError(cat(op, ": output_padding must be smaller than stride or dilation, got ",
                           options.output_padding[i], " with stride ", options.stride[i], " and dilation ",
                           options.dilation[i]));
  }
  check_range(op, "groups", options.groups, 1);
  ConvGeometry g = {};
  g.N = x.dim(0);
  g.groups = options.groups;
  g.O = weight.dim(0) / g.groups;
  g.C = weight.dim(1);
  if (weight.dim(0) % g.groups || x.dim(1) != g.groups * (transposed ? g.O : g.C))
    throw ValueError(cat(op, ": x ", shown(x.shape(), axes), " has ", x.dim(1), " channels, which does not fit weight ",
                         shown(weight.shape(), axes), " with groups = ", g.groups, ": expected weight ",
                         transposed ? "(in, out / groups, ...)" : "(out, in / groups, ...)"));
  const int64_t out_channels = g.groups * (transposed ? g.C : g.O);
  if (bias.defined() && !(bias.shape() == Shape{out_channels}))
    throw ValueError(cat(op, ": bias must be (", out_channels, ",), got ", bias.shape().str()));
  for (int i = 0; i < 2; ++i) {
    const int64_t in = x.dim(2 + i), padding = 2 * options.padding[i];
    g.kernel[i] = weight.dim(2 + i);
    g.stride[i] = options.stride[i];
    g.padding[i] = options.padding[i];
    g.dilation[i] = options.dilation[i];
    if (g.kernel[i] == 0) throw ValueError(cat(op, ": an empty kernel: weight is ", shown(weight.shape(), axes)));
    const int64_t span = checked_multiply(options.dilation[i], g.kernel[i] - 1) + 1;
    const int64_t out = transposed
                            ? checked_multiply(in - 1, options.stride[i]) - padding + span + options.output_padding[i]
                        : in + padding < span ? 0
                                              : (in + padding - span) / options.stride[i] + 1;
    if (out < 1)
      throw ValueError(cat(op, ": nothing is left of x ", shown(x.shape(), axes), " with a kernel that spans ", span,
                           " and padding ", options.padding[i]));
    g.size[i] = transposed ? out : in;
    g.positions[i] = transposed ? in : out;
  }
  const bool rounds = x.dtype() == DType::float32 && operand_dtype(DType::float32) == DType::bfloat16;
  return {
      rounds, g, {g.N, g.groups * g.C, g.size[0], g.size[1]}, {g.N, g.groups * g.O, g.positions[0], g.positions[1]}};
}

Array to_result(const char* op, const Checked& c, const Array& image, const Array& weight, const Array& bias,
                bool outside_counts) {
  const Array out = image.like(c.result);
  run(op, &ConvTable::to_result, image,
      ConvMap{c.g, image.dtype(), image.raw(), weight.raw(), bias.raw(), out.raw(), outside_counts, c.rounds});
  return out;
}

Array to_image(const char* op, const Checked& c, const Array& result, const Array& weight, const Array& bias) {
  const Array out = result.like(c.image);
  run(op, &ConvTable::to_image, result,
      ConvMap{c.g, result.dtype(), result.raw(), weight.raw(), bias.raw(), out.raw(), false, c.rounds});
  return out;
}

Array weight_gradient(const char* op, const Checked& c, const Array& image, const Array& dresult, const Shape& shape,
                      bool outside_counts) {
  ConvWeightGradient args = {c.g, image.dtype(), image.raw(), dresult.raw(), nullptr, outside_counts, c.rounds};
  const Array partials = image.like({args.image_ranges(), shape.size()}, accumulator(image.dtype()));
  args.dweight = partials.raw();
  run(op, &ConvTable::weight_gradient, image, args);
  return sum_partials(partials).reshape(shape);
}

Array bias_gradient(const Array& dout) {
  return sum_wide(dout.reshape({dout.dim(0), dout.dim(1), dout.dim(2) * dout.dim(3)}), Axes({0, 2}), false);
}

}  // namespace

// (1) dx: the transposed convolution of dout   (2) dweight[o, c, kh, kw] = sum dout[n, o, i, j] * x[n, c, y, x]
// (3) dbias = sum over images and positions of dout
static Tensor conv(const char* op, const Tensor& x, const Tensor& weight, const Tensor& bias,
                   const ConvOptions& options, int axes) {
  if (has_narrow({x, weight, bias})) return conv(op, widened(x), widened(weight), widened(bias), options, axes);
  const Checked c = checked(op, x.array(), weight.array(), bias.array(), options, false, axes);
  return record(op, {x, weight, bias}, to_result(op, c, x.array(), weight.array(), bias.array(), true),
                [op, c, x = save(x), weight = save(weight)](const Array& dout, const Needs& need) -> Gradients {
                  return {need[0] ? to_image(op, c, dout, weight(), {}) : Array(),
                          need[1] ? weight_gradient(op, c, x(), dout, weight().shape(), true) : Array(),
                          need[2] ? bias_gradient(dout) : Array()};
                });
}

Tensor conv1d(const Tensor& x, const Tensor& weight, const Tensor& bias, ConvOptions options) {
  if (x.ndim() != 3) throw ValueError(cat("conv1d: x must be (N, C, T), got ", x.shape().str()));
  if (weight.ndim() != 3)
    throw ValueError(cat("conv1d: weight must be (out, in / groups, K), got ", weight.shape().str()));
  const ConvOptions plain;
  options.stride[1] = plain.stride[1];
  options.padding[1] = plain.padding[1];
  options.dilation[1] = plain.dilation[1];
  const Tensor out = conv("conv1d", reshape(x, {x.dim(0), x.dim(1), x.dim(2), 1}),
                          reshape(weight, {weight.dim(0), weight.dim(1), weight.dim(2), 1}), bias, options, 1);
  return reshape(out, {out.dim(0), out.dim(1), out.dim(2)});
}

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvOptions& options) {
  return conv("conv2d", x, weight, bias, options, 2);
}

// (1) dx: the convolution of dout   (2) dweight: as conv2d's with x and dout in each other's place   (3) dbias as there
Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvOptions& options) {
  if (has_narrow({x, weight, bias})) return conv_transpose2d(widened(x), widened(weight), widened(bias), options);
  static constexpr const char* op = "conv_transpose2d";
  const Checked c = checked(op, x.array(), weight.array(), bias.array(), options, true);
  return record(op, {x, weight, bias}, to_image(op, c, x.array(), weight.array(), bias.array()),
                [c, x = save(x), weight = save(weight)](const Array& dout, const Needs& need) -> Gradients {
                  return {need[0] ? to_result(op, c, dout, weight(), {}, false) : Array(),
                          need[1] ? weight_gradient(op, c, dout, x(), weight().shape(), false) : Array(),
                          need[2] ? bias_gradient(dout) : Array()};
                });
}

}  // namespace pyformer
