// Elementwise ops, vector loops over the formulas of elementwise_functions.h. Sums in the order of elementwise_ref.cpp.
#include "pyformer/base/reduce.h"
#include "pyformer/base/write.h"
#include "pyformer/ops/elementwise/elementwise_functions.h"

namespace pyformer::PF_ISA::elementwise {
namespace {

// An operand along a row: its elements, or one element throughout.
template <class T, bool steps>
struct Reader {
  const T* p;
  Vec<T> fixed;
  explicit PF_INLINE Reader(const T* from) : p(from), fixed(Vec<T>::zero()) {
    if constexpr (!steps) fixed = Vec<T>::broadcast(*from);
  }
  PF_INLINE Vec<T> at(int64_t i, int64_t n) const {
    if constexpr (steps) return load_vec(p + i, n);
    return fixed;
  }
};

template <class T>
using BinaryRow = void (*)(T* out, bool nontemporal, const T* a, const T* b, int64_t n);
template <class T>
using GradientRow = void (*)(T* out, bool nontemporal, const T* dout, const T* a, const T* b, int64_t n);

template <class F, class T, bool steps_a, bool steps_b>
static void binary_row(T* out, bool nontemporal, const T* a_start, const T* b_start, int64_t n) {
  const Reader<T, steps_a> a(a_start);
  const Reader<T, steps_b> b(b_start);
  write_row(out, n, nontemporal, [&](int64_t i, int64_t m) { return F::at(a.at(i, m), b.at(i, m)); });
}

template <class F, class T, bool steps_a, bool steps_b>
static void gradient_row(T* out, bool nontemporal, const T* dout, const T* a_start, const T* b_start, int64_t n) {
  const Reader<T, steps_a> a(a_start);
  const Reader<T, steps_b> b(b_start);
  write_row(out, n, nontemporal,
            [&](int64_t i, int64_t m) { return F::at(load_vec(dout + i, m), a.at(i, m), b.at(i, m)); });
}

// Calls row for each row of [begin, end). Not inlined: it would be compiled again for each function.
template <class T>
static __attribute__((noinline)) void binary_rows(const Binary& args, int64_t begin, int64_t end, BinaryRow<T> row) {
  walk_rows(args.in, begin, end, [&](const int64_t* at, int64_t start, int64_t n) {
    row(static_cast<T*>(args.out) + start, args.nontemporal, static_cast<const T*>(args.in.data[0]) + at[0],
        static_cast<const T*>(args.in.data[1]) + at[1], n);
  });
  if (args.nontemporal) nontemporal_fence();
}

template <class T>
static __attribute__((noinline)) void gradient_rows(const BinaryGradient& args, int64_t begin, int64_t end,
                                                    GradientRow<T> row) {
  walk_rows(args.in, begin, end, [&](const int64_t* at, int64_t start, int64_t n) {
    row(static_cast<T*>(args.out) + start, args.nontemporal, static_cast<const T*>(args.in.data[0]) + at[0],
        static_cast<const T*>(args.in.data[1]) + at[1], static_cast<const T*>(args.in.data[2]) + at[2], n);
  });
  if (args.nontemporal) nontemporal_fence();
}

// One strip of columns of one matrix (length, inner); partial: fewer than kStrip columns.
template <class T, bool partial>
static PF_INLINE void sum_strip(const T* x, T* out, int64_t length, int64_t inner, int64_t columns) {
  constexpr int64_t parts = SumColumns::kStrip / kLanes;
  const auto width = [&](int64_t p) { return columns - p * kLanes; };
  const auto load = [&](const T* from, int64_t p) {
    if constexpr (!partial) return Lanes<T>::load(from + p * kLanes);
    const int64_t n = width(p);
    return n <= 0 ? Lanes<T>::zero() : load_lanes(from + p * kLanes, n < kLanes ? n : kLanes);
  };
  Lanes<T> total[parts];
  for (int64_t p = 0; p < parts; ++p) total[p] = Lanes<T>::zero();
  for (int64_t start = 0; start < length; start += kChainLength) {
    const int64_t stop = start + kChainLength < length ? start + kChainLength : length;
    Lanes<T> chain[parts];
#pragma GCC unroll 8
    for (int64_t p = 0; p < parts; ++p) chain[p] = Lanes<T>::zero();
    for (int64_t r = start; r < stop; ++r) {
#pragma GCC unroll 8
      for (int64_t p = 0; p < parts; ++p) chain[p] = chain[p] + load(x + r * inner, p);
    }
    for (int64_t p = 0; p < parts; ++p) total[p] = start == 0 ? chain[p] : total[p] + chain[p];
  }
  for (int64_t p = 0; p < parts; ++p) {
    const int64_t n = partial ? width(p) : kLanes;
    if (n > 0) store_lanes(total[p], out + p * kLanes, n < kLanes ? n : kLanes);
  }
}

struct Loops {
  static constexpr bool kAllFloats = false;

  template <class F, class T>
  static void unary(const Unary& a, int64_t begin, int64_t end) {
    const T* x = static_cast<const T*>(a.x) + begin;
    write_row(static_cast<T*>(a.out) + begin, end - begin, a.nontemporal,
              [&](int64_t i, int64_t n) { return F::at(load_vec(x + i, n)); });
    if (a.nontemporal) nontemporal_fence();
  }

  template <class F, class T>
  static void unary_gradient(const UnaryGradient& a, int64_t begin, int64_t end) {
    const T* dout = static_cast<const T*>(a.dout) + begin;
    const T* saved = static_cast<const T*>(a.saved) + begin;
    write_row(static_cast<T*>(a.dx) + begin, end - begin, a.nontemporal,
              [&](int64_t i, int64_t n) { return F::gradient(load_vec(dout + i, n), load_vec(saved + i, n)); });
    if (a.nontemporal) nontemporal_fence();
  }

  // Operands never both stay in place along a row: axes of extent 1 are dropped.
  template <class F, class T>
  static void binary(const Binary& args, int64_t begin, int64_t end) {
    binary_rows<T>(args, begin, end,
                   args.in.steps[0] && args.in.steps[1] ? binary_row<F, T, true, true>
                   : args.in.steps[0]                   ? binary_row<F, T, true, false>
                                                        : binary_row<F, T, false, true>);
  }

  template <class F, class T>
  static void binary_gradient(const BinaryGradient& args, int64_t begin, int64_t end) {
    gradient_rows<T>(args, begin, end,
                     args.in.steps[1] && args.in.steps[2] ? gradient_row<F, T, true, true>
                     : args.in.steps[1]                   ? gradient_row<F, T, true, false>
                                                          : gradient_row<F, T, false, true>);
  }

  template <class T>
  static void sum_columns(const SumColumns& a, int64_t begin, int64_t end) {
    const int64_t strips = a.strips();
    for (int64_t item = begin; item < end; ++item) {
      const int64_t outer = item / strips, first = item % strips * a.kStrip, left = a.inner - first;
      const T* x = static_cast<const T*>(a.x) + outer * a.length * a.inner + first;
      T* out = static_cast<T*>(a.out) + outer * a.inner + first;
      if (left >= a.kStrip)
        sum_strip<T, false>(x, out, a.length, a.inner, a.kStrip);
      else
        sum_strip<T, true>(x, out, a.length, a.inner, left);
    }
  }

  template <class T>
  static void sum_rows(const SumRows& a, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const T* x = static_cast<const T*>(a.x) + row * a.length;
      static_cast<T*>(a.out)[row] = lanes_reduce<T>(
          a.length, [&](int64_t i, int64_t n, const Lanes<T>& sum) { return sum + load_lanes(x + i, n); });
    }
  }
};

}  // namespace
}  // namespace pyformer::PF_ISA::elementwise

namespace pyformer {
template <>
const ElementwiseTable& KernelsOf<ElementwiseTable, PF_ISA::kIsa>::table() {
  static constexpr ElementwiseTable table = PF_ISA::elementwise::table_of<PF_ISA::elementwise::Loops>();
  return table;
}
}  // namespace pyformer
