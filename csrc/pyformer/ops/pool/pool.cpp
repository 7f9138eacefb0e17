#include "pyformer/ops/pool/pool.h"

#include <limits>

#include "pyformer/base/dispatch.h"
#include "pyformer/base/thread_pool.h"
#include "pyformer/core/partials.h"
#include "pyformer/ops/pool/pool_kernels.h"

namespace pyformer {

static const KernelSets<PoolKernels>& sets() {
  static const auto sets = kernel_sets<PoolKernels>([]<Isa isa>() { return &pool_kernels<isa>(); });
  return sets;
}

static int64_t pooled(const char* op, int64_t extent, int64_t kernel, int64_t stride, int64_t padding) {
  constexpr int64_t most = std::numeric_limits<int16_t>::max();
  if (kernel < 1 || kernel > most) throw ValueError(cat(op, ": kernel must be from 1 to ", most, ", got ", kernel));
  if (stride < 1 || stride > most) throw ValueError(cat(op, ": stride must be from 1 to ", most, ", got ", stride));
  if (padding < 0 || padding > kernel / 2)
    throw ValueError(cat(op, ": padding must be from 0 to half the kernel of ", kernel, ", got ", padding));
  if (extent < 1 || extent + 2 * padding < kernel)
    throw ValueError(cat(op, ": the kernel of ", kernel, " is larger than x, ", extent, " with padding ", padding));
  return (extent + 2 * padding - kernel) / stride + 1;
}

static PoolWindow window_of(const char* op, const Shape& x, const PoolOptions& o) {
  if (x.ndim() != 4) throw ValueError(cat(op, ": x must be (N, C, H, W), got ", x.str()));
  return {x[2],
          x[3],
          pooled(op, x[2], o.kernel[0], o.stride[0], o.padding[0]),
          pooled(op, x[3], o.kernel[1], o.stride[1], o.padding[1]),
          o.kernel[0],
          o.kernel[1],
          o.stride[0],
          o.stride[1],
          o.padding[0],
          o.padding[1]};
}

static Shape out_shape(const Shape& x, const PoolWindow& w) { return {x[0], x[1], w.rows, w.cols}; }

// Runs a kernel over all planes of x's shape.
template <class Args>
static void over_planes(const char* op, Kernel<Args> (PoolKernels::*row)[2], DType dtype, const Shape& x,
                        const Args& args) {
  const auto kernel = find_kernel(op, sets(), row, dtype);
  parallel_for(x[0] * x[1], grain_of_rows(x[2] * x[3]), [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
}

MaxPoolResult max_pool2d_forward(const Array& x, const PoolOptions& options) {
  float_index("max_pool2d", x.dtype());
  const PoolWindow w = window_of("max_pool2d", x.shape(), options);
  const Shape shape = out_shape(x.shape(), w);
  const MaxPoolResult r = {Array::empty(shape, x.dtype()), Array::empty(shape, DType::int32)};
  const MaxPool args = {w, x.raw(), r.out.raw(), r.tap.data<int32_t>()};
  over_planes("max_pool2d", &PoolKernels::max, x.dtype(), x.shape(), args);
  return r;
}

Array max_pool2d_backward(const Array& dout, const Array& tap, const Shape& shape, const PoolOptions& options) {
  const Array dx = Array::empty(shape, dout.dtype());
  const MaxPoolGradient args = {window_of("max_pool2d", shape, options), dout.raw(), tap.data<int32_t>(), dx.raw()};
  over_planes("max_pool2d", &PoolKernels::max_gradient, dout.dtype(), shape, args);
  return dx;
}

Array avg_pool2d_forward(const Array& x, const PoolOptions& options) {
  float_index("avg_pool2d", x.dtype());
  const PoolWindow w = window_of("avg_pool2d", x.shape(), options);
  const Array out = Array::empty(out_shape(x.shape(), w), x.dtype());
  over_planes("avg_pool2d", &PoolKernels::avg, x.dtype(), x.shape(), AvgPool{w, x.raw(), out.raw()});
  return out;
}

Array avg_pool2d_backward(const Array& dout, const Shape& shape, const PoolOptions& options) {
  const Array dx = Array::empty(shape, dout.dtype());
  const AvgPoolGradient args = {window_of("avg_pool2d", shape, options), dout.raw(), dx.raw()};
  over_planes("avg_pool2d", &PoolKernels::avg_gradient, dout.dtype(), shape, args);
  return dx;
}

Tensor max_pool2d(const Tensor& x, const PoolOptions& options) {
  const MaxPoolResult r = max_pool2d_forward(x.array(), options);
  return record("max_pool2d", {x}, r.out,
                [tap = r.tap, shape = x.shape(), options](const Array& dout, const Needs&) -> Gradients {
                  return {max_pool2d_backward(dout, tap, shape, options)};
                });
}

Tensor avg_pool2d(const Tensor& x, const PoolOptions& options) {
  return record("avg_pool2d", {x}, avg_pool2d_forward(x.array(), options),
                [shape = x.shape(), options](const Array& dout, const Needs&) -> Gradients {
                  return {avg_pool2d_backward(dout, shape, options)};
                });
}

}  // namespace pyformer
