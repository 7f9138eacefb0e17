// Elementwise ops, vector loops over the formulas of elementwise_functions.h.
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

// The same, decided as it runs: an operand that does not step is read again and again from a register of copies.
template <class T>
struct AnyReader {
  alignas(64) T copies[Vec<T>::width];
  const T* p;
  int64_t mask;
  PF_INLINE AnyReader(const T* from, bool steps) : p(steps ? from : copies), mask(steps ? -1 : 0) {
    if (!steps) Vec<T>::broadcast(*from).store(copies);
  }
  AnyReader(const AnyReader&) = delete;
  PF_INLINE Vec<T> at(int64_t i, int64_t n) const { return load_vec(p + (i & mask), n); }
};

template <class T>
using BinaryRow = void (*)(const Binary& args, T* out, const T* a, const T* b, int64_t n);
template <class T>
using GradientRow = void (*)(const BinaryGradient& args, T* out, const T* dout, const T* a, const T* b, int64_t n);

template <class F, class T, class A, class B>
static PF_INLINE void write_binary(T* out, bool nontemporal, const A& a, const B& b, int64_t n) {
  write_row(out, n, nontemporal, [&](int64_t i, int64_t m) { return F::at(a.at(i, m), b.at(i, m)); });
}
template <class F, class T, bool steps_a, bool steps_b>
static void binary_row(const Binary& args, T* out, const T* a, const T* b, int64_t n) {
  write_binary<F>(out, args.nontemporal, Reader<T, steps_a>(a), Reader<T, steps_b>(b), n);
}
// Of functions that are long.
template <class F, class T>
static void long_binary_row(const Binary& args, T* out, const T* a, const T* b, int64_t n) {
  write_binary<F>(out, args.nontemporal, AnyReader<T>(a, args.in.steps[0]), AnyReader<T>(b, args.in.steps[1]), n);
}

template <class F, class T>
static void gradient_row(const BinaryGradient& args, T* out, const T* dout, const T* a_start, const T* b_start,
                         int64_t n) {
  const AnyReader<T> a(a_start, args.in.steps[1]), b(b_start, args.in.steps[2]);
  write_row(out, n, args.nontemporal, [&](int64_t i, int64_t m) {
    const Vec<T> d = load_vec(dout + i, m);
    return unless_zero(d, F::at(d, a.at(i, m), b.at(i, m)));
  });
}

// Calls row for each row of [begin, end). Not inlined: it would be compiled again for each function.
template <class T>
static __attribute__((noinline)) void binary_rows(const Binary& args, int64_t begin, int64_t end, BinaryRow<T> row) {
  walk_rows(args.in, begin, end, [&](const int64_t* at, int64_t start, int64_t n) {
    row(args, static_cast<T*>(args.out) + start, static_cast<const T*>(args.in.data[0]) + at[0],
        static_cast<const T*>(args.in.data[1]) + at[1], n);
  });
  if (args.nontemporal) nontemporal_fence();
}

template <class T>
static __attribute__((noinline)) void gradient_rows(const BinaryGradient& args, int64_t begin, int64_t end,
                                                    GradientRow<T> row) {
  walk_rows(args.in, begin, end, [&](const int64_t* at, int64_t start, int64_t n) {
    row(args, static_cast<T*>(args.out) + start, static_cast<const T*>(args.in.data[0]) + at[0],
        static_cast<const T*>(args.in.data[1]) + at[1], static_cast<const T*>(args.in.data[2]) + at[2], n);
  });
  if (args.nontemporal) nontemporal_fence();
}

struct Loops {
  template <class Entry, class Get>
  static constexpr PerDtype<Entry> floats(const Get& get) {
    return for_loop_floats<Entry>(get);
  }

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
    write_row(static_cast<T*>(a.dx) + begin, end - begin, a.nontemporal, [&](int64_t i, int64_t n) {
      const Vec<T> d = load_vec(dout + i, n);
      return unless_zero(d, F::gradient(d, load_vec(saved + i, n)));
    });
    if (a.nontemporal) nontemporal_fence();
  }

  // Operands never both stay in place along a row: axes of extent 1 are dropped.
  template <class F, class T>
  static void binary(const Binary& args, int64_t begin, int64_t end) {
    if constexpr (requires { F::kIsLong; })
      binary_rows<T>(args, begin, end, long_binary_row<F, T>);
    else
      binary_rows<T>(args, begin, end,
                     args.in.steps[0] && args.in.steps[1] ? binary_row<F, T, true, true>
                     : args.in.steps[0]                   ? binary_row<F, T, true, false>
                                                          : binary_row<F, T, false, true>);
  }

  template <class F, class T>
  static void binary_gradient(const BinaryGradient& args, int64_t begin, int64_t end) {
    gradient_rows<T>(args, begin, end, gradient_row<F, T>);
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
