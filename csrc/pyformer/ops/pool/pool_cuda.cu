// pool: the windows of pool_planes.h, with a thread for each window; for gradients one for each element of the picture,
// which adds what its windows give in their order.
#include "pyformer/cuda/kernel.h"
#include "pyformer/ops/pool/pool_kernels.h"

namespace pyformer::cuda {

// Element i of planes of `rows` x `cols`.
struct PoolPlace {
  int64_t plane, row, col;
};
DEVICE PoolPlace place_of(int64_t i, int64_t rows, int64_t cols) {
  const Divided in_row = divided(i, cols), in_plane = divided(in_row.quotient, rows);
  return {in_plane.quotient, in_plane.rest, in_row.rest};
}

// use(tap, at) for the elements of window i that lie within the picture.
template <class Use>
DEVICE void each_of_window(const PoolWindow& w, int64_t i, const Use& use) {
  const PoolPlace p = place_of(i, w.rows, w.cols);
  for (int64_t kh = 0; kh < w.kernel_y; ++kh) {
    const int64_t y = p.row * w.stride_y - w.padding_y + kh;
    if (y < 0 || y >= w.height) continue;
    for (int64_t kw = 0; kw < w.kernel_x; ++kw) {
      const int64_t x = p.col * w.stride_x - w.padding_x + kw;
      if (x >= 0 && x < w.width) use(kh * w.kernel_x + kw, (p.plane * w.height + y) * w.width + x);
    }
  }
}

// The windows of one axis that hold an element: [begin, end).
struct WindowsOf {
  int64_t begin, end;
};
DEVICE WindowsOf windows_of(int64_t at, int64_t kernel, int64_t stride, int64_t padding, int64_t count) {
  const int64_t last = (at + padding) / stride, before = at + padding - kernel;
  return {before < 0 ? 0 : before / stride + 1, last < count ? last + 1 : count};
}

template <class T>
struct MaxPoolElement {
  using Args = MaxPool;
  static DEVICE void at(const Args& a, int64_t i) {
    using A = Accumulator<T>;
    A best = -A(__builtin_inff());
    int32_t winner = -1;
    each_of_window(a.window, i, [&](int64_t tap, int64_t at) {
      const A value = in<T>(a.x)[at];
      if (!(value > best || value != value || winner < 0)) return;
      best = value;
      winner = int32_t(tap);
    });
    to<T>(a.out)[i] = best;
    a.tap[i] = winner;
  }
};

template <class T>
struct MaxPoolGradientElement {
  using Args = MaxPoolGradient;
  static DEVICE void at(const Args& a, int64_t i) {
    using A = Accumulator<T>;
    const PoolWindow& w = a.window;
    const PoolPlace p = place_of(i, w.height, w.width);
    const WindowsOf ys = windows_of(p.row, w.kernel_y, w.stride_y, w.padding_y, w.rows);
    const WindowsOf xs = windows_of(p.col, w.kernel_x, w.stride_x, w.padding_x, w.cols);
    A sum = 0;
    for (int64_t row = ys.begin; row < ys.end; ++row)
      for (int64_t col = xs.begin; col < xs.end; ++col) {
        const int64_t at = (p.plane * w.rows + row) * w.cols + col;
        const int64_t kh = p.row + w.padding_y - row * w.stride_y, kw = p.col + w.padding_x - col * w.stride_x;
        if (a.tap[at] == kh * w.kernel_x + kw) sum = sum + in<T>(a.dout)[at];
      }
    static_cast<A*>(a.dx)[i] = sum;
  }
};

template <class T>
struct AvgPoolElement {
  using Args = AvgPool;
  static DEVICE void at(const Args& a, int64_t i) {
    using A = Accumulator<T>;
    A sum = 0;
    each_of_window(a.window, i, [&](int64_t, int64_t at) { sum = sum + in<T>(a.x)[at]; });
    static_cast<A*>(a.out)[i] = sum / A(a.window.kernel_y * a.window.kernel_x);
  }
};

template <class T>
struct AvgPoolGradientElement {
  using Args = AvgPoolGradient;
  static DEVICE void at(const Args& a, int64_t i) {
    using A = Accumulator<T>;
    const PoolWindow& w = a.window;
    const PoolPlace p = place_of(i, w.height, w.width);
    const WindowsOf ys = windows_of(p.row, w.kernel_y, w.stride_y, w.padding_y, w.rows);
    const WindowsOf xs = windows_of(p.col, w.kernel_x, w.stride_x, w.padding_x, w.cols);
    A sum = 0;
    for (int64_t row = ys.begin; row < ys.end; ++row)
      for (int64_t col = xs.end - 1; col >= xs.begin; --col)  // by kw
        sum = sum + in<T>(a.dout)[(p.plane * w.rows + row) * w.cols + col] / A(w.kernel_y * w.kernel_x);
    static_cast<A*>(a.dx)[i] = sum;
  }
};

template <class Element>
static void each_window(const typename Element::Args& a, int64_t, int64_t planes) {
  start_items<Element>(a, planes * a.window.rows * a.window.cols);
}
template <class Element>
static void each_of_picture(const typename Element::Args& a, int64_t, int64_t planes) {
  start_items<Element>(a, planes * a.window.height * a.window.width);
}

template <>
const PoolTable& cuda_table<PoolTable>() {
  static constexpr PoolTable table = {
      .max =
          for_each_float<Kernel<MaxPool>>([]<class T>() -> Kernel<MaxPool> { return each_window<MaxPoolElement<T>>; }),
      .max_gradient = for_each_float<Kernel<MaxPoolGradient>>(
          []<class T>() -> Kernel<MaxPoolGradient> { return each_of_picture<MaxPoolGradientElement<T>>; }),
      .avg =
          for_each_float<Kernel<AvgPool>>([]<class T>() -> Kernel<AvgPool> { return each_window<AvgPoolElement<T>>; }),
      .avg_gradient = for_each_float<Kernel<AvgPoolGradient>>(
          []<class T>() -> Kernel<AvgPoolGradient> { return each_of_picture<AvgPoolGradientElement<T>>; })};
  return table;
}

}  // namespace pyformer::cuda
