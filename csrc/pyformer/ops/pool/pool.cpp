#include "pyformer/ops/pool/pool.h"

#include <limits>

#include "pyformer/base/run.h"
#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/core/precision.h"
#include "pyformer/ops/pool/pool_kernels.h"

namespace pyformer {

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
  return {x[0] * x[1],
          x[2],
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

MaxPoolResult max_pool2d_forward(const Array& x, const PoolOptions& options) {
  const PoolWindow w = window_of("max_pool2d", x.shape(), options);
  const Shape shape = out_shape(x.shape(), w);
  const MaxPoolResult r = {x.like(shape), x.like(shape, DType::int32)};
  run("max_pool2d", &PoolTable::max, x, MaxPool{w, x.raw(), r.out.raw(), static_cast<int32_t*>(r.tap.raw())});
  return r;
}

Array max_pool2d_backward(const Array& dout, const Array& tap, const Shape& shape, const PoolOptions& options) {
  const Array dx = dout.like(shape, accumulator(dout.dtype()));
  run("max_pool2d", &PoolTable::max_gradient, dout,
      MaxPoolGradient{window_of("max_pool2d", shape, options), dout.raw(), static_cast<const int32_t*>(tap.raw()),
                      dx.raw()});
  return dx;
}

Array avg_pool2d_forward(const Array& x, const PoolOptions& options) {
  const PoolWindow w = window_of("avg_pool2d", x.shape(), options);
  const Array out = x.like(out_shape(x.shape(), w), accumulator(x.dtype()));
  run("avg_pool2d", &PoolTable::avg, x, AvgPool{w, x.raw(), out.raw()});
  return cast(out, x.dtype());
}

Array avg_pool2d_backward(const Array& dout, const Shape& shape, const PoolOptions& options) {
  const Array dx = dout.like(shape, accumulator(dout.dtype()));
  run("avg_pool2d", &PoolTable::avg_gradient, dout,
      AvgPoolGradient{window_of("avg_pool2d", shape, options), dout.raw(), dx.raw()});
  return dx;
}

Tensor max_pool2d(const Tensor& x, const PoolOptions& options) {
  if (has_narrow({x})) return max_pool2d(widened(x), options);
  const MaxPoolResult r = max_pool2d_forward(x.array(), options);
  return record("max_pool2d", {x}, r.out,
                [tap = r.tap, shape = x.shape(), options](const Array& dout, const Needs&) -> Gradients {
                  return {max_pool2d_backward(dout, tap, shape, options)};
                });
}

Tensor avg_pool2d(const Tensor& x, const PoolOptions& options) {
  if (has_narrow({x})) return avg_pool2d(widened(x), options);
  return record("avg_pool2d", {x}, avg_pool2d_forward(x.array(), options),
                [shape = x.shape(), options](const Array& dout, const Needs&) -> Gradients {
                  return {avg_pool2d_backward(dout, shape, options)};
                });
}

}  // namespace pyformer
