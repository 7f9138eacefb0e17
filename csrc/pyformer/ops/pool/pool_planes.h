// The loops of pool, for *_ref.cpp and *_cpu.cpp: plain code whose inner loop runs along a row of windows, one element
// of each window at a time, so that compilers turn it into vector code.
#pragma once
#include "pyformer/base/vec.h"

#include "pyformer/ops/pool/pool_kernels.h"

namespace pyformer::PF_ISA {

// The windows j of a row whose element kw lies within the picture.
struct WindowRange {
  int64_t begin, end;
};
static PF_INLINE WindowRange windows_inside(const PoolWindow& w, int64_t kw) {
  const int64_t before = w.padding_x - kw, last = w.width - 1 + before;  // begin * stride >= before, j * stride <= last
  const int64_t end = last < 0 ? 0 : last / w.stride_x + 1;
  return {before > 0 ? (before + w.stride_x - 1) / w.stride_x : 0, end < w.cols ? end : w.cols};
}

// Calls body(element, row, range) for the elements of the windows of row i that lie within the picture: element is kh *
// kernel_x + kw, row points so that window j reads row[j * stride_x].
template <class T, class Body>
static PF_INLINE void for_elements(const PoolWindow& w, T* plane, int64_t i, const Body& body) {
  for (int64_t kh = 0; kh < w.kernel_y; ++kh) {
    const int64_t y = i * w.stride_y - w.padding_y + kh;
    if (y < 0 || y >= w.height) continue;
    for (int64_t kw = 0; kw < w.kernel_x; ++kw)
      body(kh * w.kernel_x + kw, plane + y * w.width - w.padding_x + kw, windows_inside(w, kw));
  }
}

template <class T>
static void max_pool(const MaxPool& a, int64_t begin, int64_t end) {
  const PoolWindow w = a.window;
  for (int64_t item = begin; item < end; ++item)
    for (int64_t i = 0; i < w.rows; ++i) {
      T* out = static_cast<T*>(a.out) + (item * w.rows + i) * w.cols;
      int32_t* tap = a.tap + (item * w.rows + i) * w.cols;
      for (int64_t j = 0; j < w.cols; ++j) {
        out[j] = -T(__builtin_inf());
        tap[j] = -1;
      }
      for_elements(w, static_cast<const T*>(a.x) + item * w.height * w.width, i,
                   [&](int64_t element, const T* row, WindowRange range) {
                     for (int64_t j = range.begin; j < range.end; ++j) {
                       const T value = row[j * w.stride_x], best = out[j];
                       const int32_t winner = tap[j];
                       const bool wins = (value > best) | (value != value) | (winner < 0);
                       out[j] = wins ? value : best;
                       tap[j] = wins ? int32_t(element) : winner;
                     }
                   });
    }
}

template <class T>
static void max_pool_gradient(const MaxPoolGradient& a, int64_t begin, int64_t end) {
  const PoolWindow w = a.window;
  for (int64_t item = begin; item < end; ++item) {
    const T* dout = static_cast<const T*>(a.dout) + item * w.rows * w.cols;
    const int32_t* tap = a.tap + item * w.rows * w.cols;
    T* dx = static_cast<T*>(a.dx) + item * w.height * w.width;
    for (int64_t p = 0; p < w.height * w.width; ++p) dx[p] = T(0);
    for (int64_t i = 0; i < w.rows; ++i)
      for (int64_t j = 0; j < w.cols; ++j) {
        const int32_t element = tap[i * w.cols + j];
        const int64_t y = i * w.stride_y - w.padding_y + element / w.kernel_x;
        const int64_t x = j * w.stride_x - w.padding_x + element % w.kernel_x;
        dx[y * w.width + x] = dx[y * w.width + x] + dout[i * w.cols + j];
      }
  }
}

template <class T>
static void avg_pool(const AvgPool& a, int64_t begin, int64_t end) {
  const PoolWindow w = a.window;
  const T count = T(w.kernel_y * w.kernel_x);
  for (int64_t item = begin; item < end; ++item)
    for (int64_t i = 0; i < w.rows; ++i) {
      T* out = static_cast<T*>(a.out) + (item * w.rows + i) * w.cols;
      for (int64_t j = 0; j < w.cols; ++j) out[j] = T(0);
      for_elements(w, static_cast<const T*>(a.x) + item * w.height * w.width, i,
                   [&](int64_t, const T* row, WindowRange range) {
                     for (int64_t j = range.begin; j < range.end; ++j) out[j] = out[j] + row[j * w.stride_x];
                   });
      for (int64_t j = 0; j < w.cols; ++j) out[j] = out[j] / count;
    }
}

template <class T>
static void avg_pool_gradient(const AvgPoolGradient& a, int64_t begin, int64_t end) {
  const PoolWindow w = a.window;
  const T count = T(w.kernel_y * w.kernel_x);
  for (int64_t item = begin; item < end; ++item) {
    T* dx = static_cast<T*>(a.dx) + item * w.height * w.width;
    for (int64_t p = 0; p < w.height * w.width; ++p) dx[p] = T(0);
    for (int64_t i = 0; i < w.rows; ++i) {
      const T* dout = static_cast<const T*>(a.dout) + (item * w.rows + i) * w.cols;
      for_elements(w, dx, i, [&](int64_t, T* row, WindowRange range) {
        for (int64_t j = range.begin; j < range.end; ++j) row[j * w.stride_x] = row[j * w.stride_x] + dout[j] / count;
      });
    }
  }
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const PoolKernels& pool_kernels<PF_ISA::kIsa>() {
  using namespace PF_ISA;
  static constexpr PoolKernels kernels = {{max_pool<float>, max_pool<double>},
                                          {max_pool_gradient<float>, max_pool_gradient<double>},
                                          {avg_pool<float>, avg_pool<double>},
                                          {avg_pool_gradient<float>, avg_pool_gradient<double>}};
  return kernels;
}
}  // namespace pyformer
