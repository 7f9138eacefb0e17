// Elementwise ops, vector loops over the formulas of elementwise_functions.h.
#include "pyformer/base/write.h"
#include "pyformer/ops/elementwise/elementwise_functions.h"

namespace pyformer::PF_ISA::elementwise {
namespace {

// An operand along a row: loaded, or one element throughout.
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

// out[i] = f(readers...[i])
template <class T, class F, class... R>
static PF_INLINE void fill_row(T* out, int64_t size, bool nontemporal, const F& f, const R&... readers) {
  write_row(out, size, nontemporal, [&](int64_t i, int64_t n) { return f(readers.at(i, n)...); });
}

template <class F, class T, bool steps_a, bool steps_b>
static void binary_row(T* out, bool nontemporal, const T* a, const T* b, int64_t n) {
  fill_row(
      out, n, nontemporal, [](Vec<T> x, Vec<T> y) { return F::at(x, y); }, Reader<T, steps_a>(a),
      Reader<T, steps_b>(b));
}

template <class F, class T, bool steps_a, bool steps_b>
static void gradient_row(T* out, bool nontemporal, const T* dout, const T* a, const T* b, int64_t n) {
  fill_row(
      out, n, nontemporal, [](Vec<T> d, Vec<T> x, Vec<T> y) { return unless_zero(d, F::at(d, x, y)); },
      Reader<T, true>(dout), Reader<T, steps_a>(a), Reader<T, steps_b>(b));
}

struct Loops {
  static constexpr bool kAllFloats = false;

  template <class F, class T>
  static void unary(const Unary& a, int64_t begin, int64_t end) {
    fill_row(
        static_cast<T*>(a.out) + begin, end - begin, a.nontemporal, [](Vec<T> x) { return F::at(x); },
        Reader<T, true>(static_cast<const T*>(a.x) + begin));
    if (a.nontemporal) nontemporal_fence();
  }

  template <class F, class T>
  static void unary_gradient(const UnaryGradient& a, int64_t begin, int64_t end) {
    fill_row(
        static_cast<T*>(a.dx) + begin, end - begin, a.nontemporal,
        [](Vec<T> d, Vec<T> s) { return unless_zero(d, F::gradient(d, s)); },
        Reader<T, true>(static_cast<const T*>(a.dout) + begin),
        Reader<T, true>(static_cast<const T*>(a.saved) + begin));
    if (a.nontemporal) nontemporal_fence();
  }

  // Operands never both stay in place along a row: axes of extent 1 are dropped.
  template <class F, class T>
  static void binary(const Binary& args, int64_t begin, int64_t end) {
    const auto row = args.in.steps[0] && args.in.steps[1] ? binary_row<F, T, true, true>
                     : args.in.steps[0]                   ? binary_row<F, T, true, false>
                                                          : binary_row<F, T, false, true>;
    walk_rows(args.in, begin, end, [&](const int64_t* at, int64_t start, int64_t n) {
      row(static_cast<T*>(args.out) + start, args.nontemporal, static_cast<const T*>(args.in.data[0]) + at[0],
          static_cast<const T*>(args.in.data[1]) + at[1], n);
    });
    if (args.nontemporal) nontemporal_fence();
  }

  template <class F, class T>
  static void binary_gradient(const BinaryGradient& args, int64_t begin, int64_t end) {
    const auto row = args.in.steps[1] && args.in.steps[2] ? gradient_row<F, T, true, true>
                     : args.in.steps[1]                   ? gradient_row<F, T, true, false>
                                                          : gradient_row<F, T, false, true>;
    walk_rows(args.in, begin, end, [&](const int64_t* at, int64_t start, int64_t n) {
      row(static_cast<T*>(args.out) + start, args.nontemporal, static_cast<const T*>(args.in.data[0]) + at[0],
          static_cast<const T*>(args.in.data[1]) + at[1], static_cast<const T*>(args.in.data[2]) + at[2], n);
    });
    if (args.nontemporal) nontemporal_fence();
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
