#include "pyformer/ops/conv/conv.h"

#include <limits>
#include <vector>

#include "pyformer/base/dispatch.h"
#include "pyformer/base/thread_pool.h"
#include "pyformer/core/partials.h"
#include "pyformer/ops/conv/conv_kernels.h"
#include "pyformer/ops/matmul/panels.h"
#include "pyformer/ops/reduce/reduce.h"
#include "pyformer/ops/shape/shape.h"

namespace pyformer {

namespace {

constexpr int64_t kScratchBytes = 384 << 10;  // gathered terms should stay in a core's own cache
constexpr int64_t kTaskProducts = 1 << 19;    // multiply-adds below which handing out costs more than it gains
constexpr int64_t kImageRanges = 8;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

const ConvKernels& kernels() {
  static const auto sets = kernel_sets<ConvKernels>([]<Isa isa>() { return &conv_kernels<isa>(); });
  return *sets[size_t(current_isa())];
}

// Both ops seen as the map of `image` (N, groups * C, H, W) to `result` (N, groups * O, rows, cols) by
// weight (groups * O, C, KH, KW): conv2d is that map, conv_transpose2d its transpose.
struct Geometry {
  DType dtype;
  int64_t N, groups, C, O;
  int64_t size[2], positions[2], kernel[2];  // of an image plane, a result plane, the kernel
  ConvOptions options;

  int64_t taps() const { return kernel[0] * kernel[1]; }
};

// Which kernel rows (or columns) meet a position, and where they read: position * step + shift.
struct Taps {
  std::vector<int64_t> index, shift;
  int64_t size() const { return int64_t(index.size()); }
};

// A window with what its pointers point to.
struct Window {
  Window(const Taps& ys, const Taps& xs, int64_t channels, const int64_t* size, const int64_t* positions,
         const int64_t* step)
      : y(ys), x(xs) {
    w.height = size[0];
    w.width = size[1];
    w.channels = channels;
    w.taps_y = y.size();
    w.taps_x = x.size();
    w.step_y = step[0];
    w.step_x = step[1];
    w.dy = y.shift.data();
    w.dx = x.shift.data();
    w.rows = positions[0];
    w.cols = positions[1];
    find_slots();
  }
  Window(const Window&) = delete;

  int64_t planes_per_channel() const { return w.taps_x * w.slots; }
  int64_t terms_of_channel(int64_t rows) const { return planes_per_channel() * (rows + w.extra_rows) * w.cols; }
  int64_t scratch_elements(int64_t channels) const {  // vectors may be read past the last position
    return checked_multiply(channels * planes_per_channel(), w.plane_stride) + 4 * kLanes;
  }

  // Decides the scratch for at most `rows` rows of positions.
  void lay_out(int64_t rows) {
    // An odd number of cache lines between planes: at powers of two they would share their cache sets.
    w.plane_stride = (ceil_div(checked_multiply(rows + w.extra_rows, w.cols), kLanes) | 1) * kLanes;
    offset.clear();
    for (int64_t c = 0; c < w.channels; ++c)
      for (int64_t i = 0; i < w.taps_y; ++i)
        for (int64_t j = 0; j < w.taps_x; ++j)
          offset.push_back(((c * w.taps_x + j) * w.slots + slot[size_t(i)]) * w.plane_stride +
                           slot_row[size_t(i)] * w.cols);
    w.offset = offset.data();
  }

  const Taps y, x;
  ConvWindow w = {};

 private:
  void find_slots() {
    const int64_t least = y.size() ? *std::min_element(y.shift.begin(), y.shift.end()) : 0;
    for (int64_t shift : y.shift) {
      const int64_t first = least + (shift - least) % w.step_y;
      const auto found = std::find(slot_y.begin(), slot_y.end(), first);
      slot.push_back(found - slot_y.begin());
      if (found == slot_y.end()) slot_y.push_back(first);
      slot_row.push_back((shift - first) / w.step_y);
      w.extra_rows = std::max(w.extra_rows, slot_row.back());
    }
    w.slots = int64_t(slot_y.size());
    w.slot_y = slot_y.data();
  }

  std::vector<int64_t> slot, slot_row, slot_y, offset;
};

// weight element (g, o, c, kh, kw) as panels for sums over (c, kh, kw), or over (o, kh, kw) of those taps only.
Array packed_weight(const Geometry& g, const Array& weight, const Taps& y, const Taps& x, bool transposed) {
  const int64_t m = transposed ? g.C : g.O, channels = transposed ? g.O : g.C;
  const int64_t m_stride = transposed ? g.taps() : g.C * g.taps(), c_stride = transposed ? g.C * g.taps() : g.taps();
  const int64_t tile = kernels().tile_rows[float_index("conv", g.dtype)], panels = ceil_div(m, tile);
  const int64_t K = channels * y.size() * x.size();
  const Array packed = Array::empty({g.groups, m, K}, g.dtype);
  const auto pack = [&]<class T>(const T* from, T* to) {
    parallel_for(g.groups * panels, 1, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t group = item / panels, first = panel_begin(item % panels, panels, m);
        const int64_t rows = panel_begin(item % panels + 1, panels, m) - first;
        const T* source = from + group * g.O * g.C * g.taps() + first * m_stride;
        T* out = to + (group * m + first) * K;
        for (int64_t c = 0; c < channels; ++c)
          for (int64_t kh : y.index)
            for (int64_t kw : x.index)
              for (int64_t i = 0; i < rows; ++i) *out++ = source[c * c_stride + kh * g.kernel[1] + kw + i * m_stride];
      }
    });
  };
  if (g.dtype == DType::float64)
    pack(weight.data<double>(), packed.data<double>());
  else
    pack(weight.data<float>(), packed.data<float>());
  return packed;
}

// Runs the sums of args at all positions of the window, for images * groups.
void run_sums(const Geometry& g, Window& window, ConvSum args) {
  const ConvWindow& w = window.w;
  const int64_t bytes = item_bytes(g.dtype), image_groups = g.N * g.groups, rows = w.rows;
  if (image_groups == 0 || args.m == 0 || rows == 0 || w.cols == 0) return;
  const int64_t row_bytes = std::max<int64_t>(1, w.channels * window.planes_per_channel() * w.cols * bytes);
  const int64_t fit = std::clamp<int64_t>(kScratchBytes / row_bytes - w.extra_rows, 1, rows);
  const int64_t products = std::max<int64_t>(1, args.m * w.channels * w.taps_y * w.taps_x * w.cols);  // of a row
  const int64_t least = std::min(ceil_div(kTaskProducts, products), rows);
  const int64_t wanted = ceil_div(4 * num_threads(), image_groups);  // blocks an image
  args.row_blocks = ceil_div(rows, std::min(fit, std::max(least, rows / wanted)));
  args.block_rows = ceil_div(rows, args.row_blocks);
  args.row_blocks = ceil_div(rows, args.block_rows);
  window.lay_out(args.block_rows);
  args.window = w;
  args.groups = g.groups;
  const auto kernel = kernels().sum[float_index("conv", g.dtype)];
  const int64_t grain = std::max<int64_t>(1, kTaskProducts / (products * args.block_rows));
  parallel_for(image_groups * args.row_blocks, grain, [&](int64_t begin, int64_t end) {
    const Array scratch = Array::empty({window.scratch_elements(w.channels)}, g.dtype);
    ConvSum own = args;
    own.scratch = scratch.raw();
    kernel(own, begin, end);
  });
}

Taps all_taps(const Geometry& g, int axis) {
  Taps taps;
  for (int64_t k = 0; k < g.kernel[axis]; ++k) {
    taps.index.push_back(k);
    taps.shift.push_back(k * g.options.dilation[axis] - g.options.padding[axis]);
  }
  return taps;
}

Array to_result(const Geometry& g, const Array& image, const Array& weight, const Array& bias) {
  const Array out = Array::empty({g.N, g.groups * g.O, g.positions[0], g.positions[1]}, g.dtype);
  const Taps y = all_taps(g, 0), x = all_taps(g, 1);
  Window window(y, x, g.C, g.size, g.positions, g.options.stride);
  const Array packed = packed_weight(g, weight, y, x, false);
  ConvSum args = {};
  args.m = g.O;
  args.x = image.raw();
  args.weight = packed.raw();
  args.bias = bias.raw();
  args.out = out.raw();
  args.out_plane = g.positions[0] * g.positions[1];
  args.out_row = g.positions[1];
  args.out_col = 1;
  run_sums(g, window, args);
  return out;
}

// Of image rows first, first + stride, ...: kernel row k meets result row (y + padding - k dilation) / stride, where
// that is whole.
Taps taps_meeting(const Geometry& g, int axis, int64_t first) {
  Taps taps;
  const int64_t stride = g.options.stride[axis];
  for (int64_t k = 0; k < g.kernel[axis]; ++k) {
    const int64_t at = first + g.options.padding[axis] - k * g.options.dilation[axis];
    if (at % stride) continue;
    taps.index.push_back(k);
    taps.shift.push_back(at / stride);
  }
  return taps;
}

// Image rows and columns that are stride apart meet the same part of the kernel: one run of sums for each such part.
Array to_image(const Geometry& g, const Array& result, const Array& weight, const Array& bias) {
  const Array out = Array::empty({g.N, g.groups * g.C, g.size[0], g.size[1]}, g.dtype);
  constexpr int64_t step[2] = {1, 1};
  const int64_t* stride = g.options.stride;
  for (int64_t a = 0; a < std::min(stride[0], g.size[0]); ++a)
    for (int64_t b = 0; b < std::min(stride[1], g.size[1]); ++b) {
      const Taps y = taps_meeting(g, 0, a), x = taps_meeting(g, 1, b);
      const int64_t positions[2] = {ceil_div(g.size[0] - a, stride[0]), ceil_div(g.size[1] - b, stride[1])};
      Window window(y, x, g.O, g.positions, positions, step);
      const Array packed = packed_weight(g, weight, y, x, true);
      ConvSum args = {};
      args.m = g.C;
      args.x = result.raw();
      args.weight = packed.raw();
      args.bias = bias.raw();
      args.out = static_cast<char*>(out.raw()) + (a * g.size[1] + b) * item_bytes(g.dtype);
      args.out_plane = g.size[0] * g.size[1];
      args.out_row = stride[0] * g.size[1];
      args.out_col = stride[1];
      run_sums(g, window, args);
    }
  return out;
}

Array weight_gradient(const Geometry& g, const Array& image, const Array& dresult, const Shape& shape) {
  ConvWeight args = {};
  args.images = g.N;
  args.image_ranges = std::min(g.N, kImageRanges);
  args.groups = g.groups;
  args.m = g.O;
  args.x = image.raw();
  args.dout = dresult.raw();
  args.chain_rows = std::clamp<int64_t>(kChainLength / std::max<int64_t>(1, g.positions[1]), 1, g.positions[0]);
  const Array partials = Array::empty({args.image_ranges, shape.size()}, g.dtype);
  args.dweight = partials.raw();
  if (partials.size() == 0) return sum_partials(partials).reshape(shape);
  Window window(all_taps(g, 0), all_taps(g, 1), g.C, g.size, g.positions, g.options.stride);
  window.lay_out(args.chain_rows);
  args.window = window.w;
  const int64_t channel_bytes = window.planes_per_channel() * window.w.plane_stride * item_bytes(g.dtype);
  args.channel_blocks = ceil_div(g.C, std::clamp<int64_t>(kScratchBytes / channel_bytes, 1, g.C));
  args.block_channels = ceil_div(g.C, args.channel_blocks);
  args.channel_blocks = ceil_div(g.C, args.block_channels);
  const auto kernel = kernels().weight[float_index("conv", g.dtype)];
  const int64_t m = padded_m(g.O);
  parallel_for(args.image_ranges * g.groups * args.channel_blocks, 1, [&](int64_t begin, int64_t end) {
    const Array terms = Array::empty({window.scratch_elements(args.block_channels)}, g.dtype);
    const Array packed_dout = Array::empty({args.chain_rows * g.positions[1], m}, g.dtype);
    const Array sums = Array::empty({args.block_channels * g.taps(), m}, g.dtype);
    ConvWeight own = args;
    own.scratch = terms.raw();
    own.packed_dout = packed_dout.raw();
    own.sums = sums.raw();
    kernel(own, begin, end);
  });
  return sum_partials(partials).reshape(shape);
}

// ---- checks -----------------------------------------------------------------------------------------------------

void check_range(const char* op, const char* what, int64_t value, int64_t least) {
  constexpr int64_t most = std::numeric_limits<int32_t>::max();
  if (value < least || value > most)
    throw ValueError(cat(op, ": ", what, " must be from ", least, " to ", most, ", got ", value));
}

// A shape as the caller sees it: without the last axis where the op has one axis less.
std::string shown(const Shape& shape, int axes) { return Shape(shape.begin(), std::min(shape.ndim(), 2 + axes)).str(); }

Geometry checked(const char* op, const Array& x, const Array& weight, const Array& bias, const ConvOptions& options,
                 bool transposed, int axes = 2) {
  float_index(op, x.dtype());
  const char* rest = axes == 1 ? "T)" : "H, W)";
  if (x.ndim() != 4) throw ValueError(cat(op, ": x must be (N, C, ", rest, ", got ", x.shape().str()));
  if (weight.ndim() != 4)
    throw ValueError(cat(op, ": weight must be (", transposed ? "in, out / groups" : "out, in / groups",
                         axes == 1 ? ", K), got " : ", KH, KW), got ", weight.shape().str()));
  for (const Array* array : {&weight, &bias})
    if (array->defined() && array->dtype() != x.dtype())
      throw TypeError(cat(op, ": ", array == &bias ? "bias" : "weight", " must be ", name(x.dtype()), " as x is, got ",
                          name(array->dtype())));
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
  Geometry g = {x.dtype(), x.dim(0), options.groups, 0, 0, {}, {}, {}, options};
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
  return g;
}

Array bias_gradient(const Array& dout) {
  return sum_forward(dout.reshape({dout.dim(0), dout.dim(1), dout.dim(2) * dout.dim(3)}), Axes({0, 2}), false);
}

Tensor conv(const char* op, const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvOptions& options,
            int axes) {
  const Geometry g = checked(op, x.array(), weight.array(), bias.array(), options, false, axes);
  return record(op, {x, weight, bias}, to_result(g, x.array(), weight.array(), bias.array()),
                [x = save(x), weight = save(weight), options](const Array& dout, const Needs& need) -> Gradients {
                  ConvGradient r = conv2d_backward(dout, x(), weight(), options, need[0], need[1], need[2]);
                  return {r.dx, r.dweight, r.dbias};
                });
}

}  // namespace

Array conv2d_forward(const Array& x, const Array& weight, const Array& bias, const ConvOptions& options) {
  return to_result(checked("conv2d", x, weight, bias, options, false), x, weight, bias);
}

// (1) dx: the transposed convolution of dout   (2) dweight[o, c, kh, kw] = sum dout[n, o, i, j] * x[n, c, y, x]
// (3) dbias = sum over images and positions of dout
ConvGradient conv2d_backward(const Array& dout, const Array& x, const Array& weight, const ConvOptions& options,
                             bool need_dx, bool need_dweight, bool need_dbias) {
  const Geometry g = checked("conv2d", x, weight, {}, options, false);
  return {need_dx ? to_image(g, dout, weight, {}) : Array(),
          need_dweight ? weight_gradient(g, x, dout, weight.shape()) : Array(),
          need_dbias ? bias_gradient(dout) : Array()};
}

Array conv_transpose2d_forward(const Array& x, const Array& weight, const Array& bias, const ConvOptions& options) {
  return to_image(checked("conv_transpose2d", x, weight, bias, options, true), x, weight, bias);
}

// (1) dx: the convolution of dout   (2) dweight: as conv2d's with x and dout in each other's place   (3) dbias as there
ConvGradient conv_transpose2d_backward(const Array& dout, const Array& x, const Array& weight,
                                       const ConvOptions& options, bool need_dx, bool need_dweight, bool need_dbias) {
  const Geometry g = checked("conv_transpose2d", x, weight, {}, options, true);
  return {need_dx ? to_result(g, dout, weight, {}) : Array(),
          need_dweight ? weight_gradient(g, dout, x, weight.shape()) : Array(),
          need_dbias ? bias_gradient(dout) : Array()};
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

Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvOptions& options) {
  return record("conv_transpose2d", {x, weight, bias},
                conv_transpose2d_forward(x.array(), weight.array(), bias.array(), options),
                [x = save(x), weight = save(weight), options](const Array& dout, const Needs& need) -> Gradients {
                  ConvGradient r = conv_transpose2d_backward(dout, x(), weight(), options, need[0], need[1], need[2]);
                  return {r.dx, r.dweight, r.dbias};
                });
}

}  // namespace pyformer
