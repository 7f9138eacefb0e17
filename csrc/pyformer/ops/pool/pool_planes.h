// The loops of pool, for *_ref.cpp and *_cpu.cpp: plain code whose inner loop runs along a row of windows, one element
// of each window at a time, so that compilers turn it into vector code.
#pragma once
#include "pyformer/base/element.h"
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
template <class Pointer, class Body>
static PF_INLINE void for_elements(const PoolWindow& w, Pointer plane, int64_t i, const Body& body) {
  for (int64_t kh = 0; kh < w.kernel_y; ++kh) {
    const int64_t y = i * w.stride_y - w.padding_y + kh;
    if (y < 0 || y >= w.height) continue;
    for (int64_t kw = 0; kw < w.kernel_x; ++kw)
      body(kh * w.kernel_x + kw, plane + (y * w.width - w.padding_x + kw), windows_inside(w, kw));
  }
}

template <class T>
static void max_pool(const MaxPool& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  const PoolWindow w = a.window;
  for (int64_t item = begin; item < end; ++item)
    for (int64_t i = 0; i < w.rows; ++i) {
      const auto out = to<T>(a.out) + (item * w.rows + i) * w.cols;
      int32_t* tap = a.tap + (item * w.rows + i) * w.cols;
      for (int64_t j = 0; j < w.cols; ++j) {
        out[j] = -A(__builtin_inf());
        tap[j] = -1;
      }
      for_elements(w, in<T>(a.x) + item * w.height * w.width, i, [&](int64_t element, auto row, WindowRange range) {
        for (int64_t j = range.begin; j < range.end; ++j) {
          const A value = row[j * w.stride_x], best = out[j];
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
  using A = Accumulator<T>;
  const PoolWindow w = a.window;
  for (int64_t item = begin; item < end; ++item) {
    const auto dout = in<T>(a.dout) + item * w.rows * w.cols;
    const int32_t* tap = a.tap + item * w.rows * w.cols;
    A* dx = static_cast<A*>(a.dx) + item * w.height * w.width;
    for (int64_t p = 0; p < w.height * w.width; ++p) dx[p] = A(0);
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
  using A = Accumulator<T>;
  const PoolWindow w = a.window;
  const A count = A(w.kernel_y * w.kernel_x);
  for (int64_t item = begin; item < end; ++item)
    for (int64_t i = 0; i < w.rows; ++i) {
      A* out = static_cast<A*>(a.out) + (item * w.rows + i) * w.cols;
      for (int64_t j = 0; j < w.cols; ++j) out[j] = A(0);
      for_elements(w, in<T>(a.x) + item * w.height * w.width, i, [&](int64_t, auto row, WindowRange range) {
        for (int64_t j = range.begin; j < range.end; ++j) out[j] = out[j] + row[j * w.stride_x];
      });
      for (int64_t j = 0; j < w.cols; ++j) out[j] = out[j] / count;
    }
}

template <class T>
static void avg_pool_gradient(const AvgPoolGradient& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  const PoolWindow w = a.window;
  const A count = A(w.kernel_y * w.kernel_x);
  for (int64_t item = begin; item < end; ++item) {
    A* dx = static_cast<A*>(a.dx) + item * w.height * w.width;
    for (int64_t p = 0; p < w.height * w.width; ++p) dx[p] = A(0);
    for (int64_t i = 0; i < w.rows; ++i) {
      const auto dout = in<T>(a.dout) + (item * w.rows + i) * w.cols;
      for_elements(w, dx, i, [&](int64_t, A* row, WindowRange range) {
        for (int64_t j = range.begin; j < range.end; ++j) row[j * w.stride_x] = row[j * w.stride_x] + dout[j] / count;
      });
    }
  }
}

}  // namespace pyformer::PF_ISA
