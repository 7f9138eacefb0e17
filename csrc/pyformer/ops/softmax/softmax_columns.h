// softmax and log_softmax over an axis that is not the last, in vector code: a strip of columns at a time, whose rows
// of the reduction are the registers' elements. Sums in the order of the row-reduction rule, down each column.
#pragma once
#include "pyformer/base/math.h"
#include "pyformer/base/reduce.h"
#include "pyformer/base/write.h"
#include "pyformer/ops/softmax/softmax_kernels.h"

namespace pyformer::PF_ISA {

constexpr int64_t kStrip = kSoftmaxStrip;
// Rows that the first read of a strip asks ahead for: they lie too far apart for the processor to guess.
constexpr int64_t kRowsAhead = 8;

template <class T>
struct alignas(64) Strip {  // one number a column
  T value[kStrip];
};

// body(first element, columns) for the strips of the rows [begin, end).
template <class Args, class Body>
PF_INLINE void for_each_strip(const Args& a, int64_t begin, int64_t end, const Body& body) {
  while (begin < end) {
    const int64_t column = begin % a.inner, left = a.inner - column < end - begin ? a.inner - column : end - begin;
    const int64_t count = left < kStrip ? left : kStrip;
    body(begin / a.inner * a.cols * a.inner + column, count);
    begin += count;
  }
}

// f(c, n) for the registers of a strip.
template <class T, class F>
PF_INLINE void for_each_register(int64_t count, const F& f) {
  constexpr int64_t width = Vec<T>::width;
  int64_t c = 0;
  for (; c + width <= count; c += width) f(c, width);
  if (c < count) f(c, count - c);
}

// The row-reduction rule down each column: accumulate(i, c, n, lane) adds columns c .. c + n of row i to a lane.
template <class T, class Accumulate>
PF_INLINE void reduce_columns(int64_t rows, int64_t count, Strip<T>& sums, const Accumulate& accumulate) {
  constexpr int64_t width = Vec<T>::width;
  BlockTree<Vec<T>> tree[kStrip / width];
  for (int64_t start = 0; start < rows; start += kReduceBlock) {
    const int64_t stop = start + kReduceBlock < rows ? start + kReduceBlock : rows;
    Strip<T> lane[kLanes] = {};
    for (int64_t i = start; i < stop; ++i) {
      T* to = lane[(i - start) % kLanes].value;
      for_each_register<T>(count,
                           [&](int64_t c, int64_t n) { accumulate(i, c, n, Vec<T>::load(to + c)).store(to + c); });
    }
    for_each_register<T>(count, [&](int64_t c, int64_t) {
      Vec<T> sum[kLanes];
      for (int64_t l = 0; l < kLanes; ++l) sum[l] = Vec<T>::load(lane[l].value + c);
      for (int64_t half = kLanes / 2; half > 0; half /= 2)
        for (int64_t l = 0; l < half; ++l) sum[l] = sum[l] + sum[l + half];
      tree[c / width].add(sum[0]);
    });
  }
  for_each_register<T>(count, [&](int64_t c, int64_t) { tree[c / width].total().store(sums.value + c); });
}

// The largest element of each column that is not NaN, -inf if there is none.
template <class T>
PF_INLINE void column_max(const T* x, int64_t rows, int64_t step, int64_t count, Strip<T>& m) {
  for (T& value : m.value) value = -T(__builtin_inf());
  for (int64_t i = 0; i < rows; ++i)
    for_each_register<T>(count, [&](int64_t c, int64_t n) {
      __builtin_prefetch(x + (i + kRowsAhead) * step + c);
      max(load_vec(x + i * step + c, n), Vec<T>::load(m.value + c)).store(m.value + c);
    });
}

template <class T>
static void softmax_forward_columns(const SoftmaxForward& a, int64_t begin, int64_t end) {
  for_each_strip(a, begin, end, [&](int64_t first, int64_t count) {
    const T* x = static_cast<const T*>(a.x) + first;
    T* out = static_cast<T*>(a.out) + first;
    T* exps = a.nontemporal ? static_cast<T*>(a.scratch) : out;
    const int64_t exps_step = a.nontemporal ? kStrip : a.inner;
    Strip<T> m, sum;
    column_max(x, a.cols, a.inner, count, m);
    reduce_columns(a.cols, count, sum, [&](int64_t i, int64_t c, int64_t n, Vec<T> lane) {
      const Vec<T> e = exp_flush(load_vec(x + i * a.inner + c, n) - Vec<T>::load(m.value + c));
      store_vec(e, exps + i * exps_step + c, n);
      return lane + e;
    });
    for (T& value : sum.value) value = T(1) / value;
    for (int64_t i = 0; i < a.cols; ++i)
      write_row(out + i * a.inner, count, a.nontemporal, [&](int64_t c, int64_t n) {
        return load_vec(exps + i * exps_step + c, n) * load_vec(sum.value + c, n);
      });
  });
  if (a.nontemporal) nontemporal_fence();
}

template <class T>
static void softmax_backward_columns(const SoftmaxBackward& a, int64_t begin, int64_t end) {
  for_each_strip(a, begin, end, [&](int64_t first, int64_t count) {
    const T* dout = static_cast<const T*>(a.dout) + first;
    const T* out = static_cast<const T*>(a.saved) + first;
    T* dx = static_cast<T*>(a.dx) + first;
    Strip<T> dot;
    reduce_columns(a.cols, count, dot, [&](int64_t i, int64_t c, int64_t n, Vec<T> lane) {
      __builtin_prefetch(dout + (i + kRowsAhead) * a.inner + c);
      __builtin_prefetch(out + (i + kRowsAhead) * a.inner + c);
      return fma(load_vec(dout + i * a.inner + c, n), load_vec(out + i * a.inner + c, n), lane);
    });
    for (int64_t i = 0; i < a.cols; ++i)
      write_row(dx + i * a.inner, count, a.nontemporal, [&](int64_t c, int64_t n) {
        return load_vec(out + i * a.inner + c, n) * (load_vec(dout + i * a.inner + c, n) - load_vec(dot.value + c, n));
      });
  });
  if (a.nontemporal) nontemporal_fence();
}

template <class T>
static void log_softmax_forward_columns(const SoftmaxForward& a, int64_t begin, int64_t end) {
  for_each_strip(a, begin, end, [&](int64_t first, int64_t count) {
    const T* x = static_cast<const T*>(a.x) + first;
    T* out = static_cast<T*>(a.out) + first;
    Strip<T> m, log_sum;
    column_max(x, a.cols, a.inner, count, m);
    reduce_columns(a.cols, count, log_sum, [&](int64_t i, int64_t c, int64_t n, Vec<T> lane) {
      return lane + exp_flush(load_vec(x + i * a.inner + c, n) - Vec<T>::load(m.value + c));
    });
    for_each_register<T>(count,
                         [&](int64_t c, int64_t) { log(Vec<T>::load(log_sum.value + c)).store(log_sum.value + c); });
    for (int64_t i = 0; i < a.cols; ++i)
      write_row(out + i * a.inner, count, a.nontemporal, [&](int64_t c, int64_t n) {
        return (load_vec(x + i * a.inner + c, n) - load_vec(m.value + c, n)) - load_vec(log_sum.value + c, n);
      });
  });
  if (a.nontemporal) nontemporal_fence();
}

template <class T>
static void log_softmax_backward_columns(const SoftmaxBackward& a, int64_t begin, int64_t end) {
  for_each_strip(a, begin, end, [&](int64_t first, int64_t count) {
    const T* dout = static_cast<const T*>(a.dout) + first;
    const T* out = static_cast<const T*>(a.saved) + first;
    T* dx = static_cast<T*>(a.dx) + first;
    Strip<T> sum;
    reduce_columns(a.cols, count, sum, [&](int64_t i, int64_t c, int64_t n, Vec<T> lane) {
      __builtin_prefetch(dout + (i + kRowsAhead) * a.inner + c);
      return lane + load_vec(dout + i * a.inner + c, n);
    });
    for (int64_t i = 0; i < a.cols; ++i)
      write_row(dx + i * a.inner, count, a.nontemporal, [&](int64_t c, int64_t n) {
        return fma(exp_flush(load_vec(out + i * a.inner + c, n)), -load_vec(sum.value + c, n),
                   load_vec(dout + i * a.inner + c, n));
      });
  });
  if (a.nontemporal) nontemporal_fence();
}

}  // namespace pyformer::PF_ISA
