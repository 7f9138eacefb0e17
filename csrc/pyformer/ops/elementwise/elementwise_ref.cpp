// Elementwise ops, plain loops over the formulas of elementwise_functions.h. 16-bit floats go through the float loops,
// a chunk at a time: widened, computed, rounded once.
#include "pyformer/base/element.h"
#include "pyformer/ops/elementwise/elementwise_functions.h"
#include "pyformer/ops/elementwise/elementwise_integers.h"
#include "pyformer/ops/elementwise/elementwise_rows.h"

namespace pyformer::PF_ISA::elementwise {
namespace {

constexpr int64_t kChunk = 256;

template <class T>
constexpr bool kIsHalf = sizeof(T) == 2;

template <class T>
void widen(const T* x, int64_t n, float* wide) {
  for (int64_t i = 0; i < n; ++i) wide[i] = widened(x[i]);
}
template <class T>
void round(const float* wide, int64_t n, T* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = rounded<T>(wide[i]);
}

template <class T>
void unary_by_float(const Unary& a, int64_t begin, int64_t end, Kernel<Unary> compute) {
  float x[kChunk], out[kChunk];
  for (int64_t i = begin; i < end; i += kChunk) {
    const int64_t n = end - i < kChunk ? end - i : kChunk;
    widen(static_cast<const T*>(a.x) + i, n, x);
    compute({n, x, out, false}, 0, n);
    round(out, n, static_cast<T*>(a.out) + i);
  }
}

// value, where there is one, computes out from the saved x.
template <class T>
void gradient_by_float(const UnaryGradient& a, int64_t begin, int64_t end, Kernel<UnaryGradient> compute,
                       Kernel<Unary> value) {
  float dout[kChunk], x[kChunk], out[kChunk], dx[kChunk];
  for (int64_t i = begin; i < end; i += kChunk) {
    const int64_t n = end - i < kChunk ? end - i : kChunk;
    widen(static_cast<const T*>(a.dout) + i, n, dout);
    widen(static_cast<const T*>(a.saved) + i, n, x);
    if (value) value({n, x, out, false}, 0, n);
    compute({n, dout, value ? out : x, dx, false}, 0, n);
    round(dx, n, static_cast<T*>(a.dx) + i);
  }
}

// Args: Binary or BinaryGradient, of N operands.
template <class T, class Args, int N>
void rows_by_float(const Args& args, const Operands<N>& in, int64_t begin, int64_t end, Kernel<Args> compute) {
  float operands[N][kChunk], results[kChunk];
  Args chunk = {};
  for (int k = 0; k < N; ++k) {
    chunk.in.data[k] = operands[k];
    chunk.in.steps[k] = in.steps[k];
  }
  walk_rows(in, begin, end, [&](const int64_t* at, int64_t start, int64_t count) {
    for (int64_t first = 0; first < count; first += kChunk) {
      const int64_t n = count - first < kChunk ? count - first : kChunk;
      for (int k = 0; k < N; ++k)
        widen(static_cast<const T*>(in.data[k]) + at[k] + (in.steps[k] ? first : 0), in.steps[k] ? n : 1, operands[k]);
      chunk.size = chunk.in.inner = n;
      chunk.out = args.wide ? static_cast<float*>(args.out) + start + first : results;
      compute(chunk, 0, n);
      if (!args.wide) round(results, n, static_cast<T*>(args.out) + start + first);
    }
  });
}

struct Loops {
  template <class Entry, class Get>
  static constexpr PerDtype<Entry> floats(const Get& get) {
    return for_each_float<Entry>(get);
  }

  template <class F, class T>
  static void unary(const Unary& a, int64_t begin, int64_t end) {
    if constexpr (kIsHalf<T>)
      return unary_by_float<T>(a, begin, end, unary<F, float>);
    else {
      const T* x = static_cast<const T*>(a.x);
      T* out = static_cast<T*>(a.out);
      for (int64_t i = begin; i < end; ++i) out[i] = F::at(x[i]);
    }
  }

  template <class F, class T>
  static void unary_gradient(const UnaryGradient& a, int64_t begin, int64_t end) {
    if constexpr (kIsHalf<T>) {
      gradient_by_float<T>(a, begin, end, unary_gradient<F, float>, F::kSavesOut ? unary<F, float> : nullptr);
    } else {
      const T* dout = static_cast<const T*>(a.dout);
      const T* saved = static_cast<const T*>(a.saved);
      T* dx = static_cast<T*>(a.dx);
      for (int64_t i = begin; i < end; ++i) dx[i] = unless_zero(dout[i], F::gradient(dout[i], saved[i]));
    }
  }

  template <class F, class T>
  static void binary(const Binary& args, int64_t begin, int64_t end) {
    if constexpr (kIsHalf<T>) {
      rows_by_float<T>(args, args.in, begin, end, binary<F, float>);
    } else {
      binary_rows(args, begin, end, binary_row<F, T, T>, sizeof(T), sizeof(T));
    }
  }

  template <class F, class T>
  static void binary_gradient(const BinaryGradient& args, int64_t begin, int64_t end) {
    if constexpr (kIsHalf<T>) {
      rows_by_float<T>(args, args.in, begin, end, binary_gradient<F, float>);
    } else {
      walk_rows(args.in, begin, end, [&](const int64_t* at, int64_t start, int64_t n) {
        const T* dout = static_cast<const T*>(args.in.data[0]) + at[0];
        const T* a = static_cast<const T*>(args.in.data[1]) + at[1];
        const T* b = static_cast<const T*>(args.in.data[2]) + at[2];
        T* out = static_cast<T*>(args.out) + start;
        for (int64_t i = 0; i < n; ++i)
          out[i] = unless_zero(dout[i], F::at(dout[i], a[args.in.steps[1] ? i : 0], b[args.in.steps[2] ? i : 0]));
      });
    }
  }
};

}  // namespace
}  // namespace pyformer::PF_ISA::elementwise

namespace pyformer {
template <>
const ElementwiseTable& KernelsOf<ElementwiseTable, PF_ISA::kIsa>::table() {
  using namespace PF_ISA::elementwise;
  static const ElementwiseTable table = integers::with_integers(table_of<Loops>());
  return table;
}
}  // namespace pyformer
