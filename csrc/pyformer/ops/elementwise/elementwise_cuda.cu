// Elementwise ops, the formulas of elementwise_functions.h with a thread for each element. 16-bit floats are widened,
// computed with in float32 and rounded once.
#include "pyformer/cuda/kernel.h"
#include "pyformer/ops/elementwise/elementwise_functions.h"
#include "pyformer/ops/elementwise/elementwise_integer_functions.h"

namespace pyformer::cuda::elementwise {

// Where output element i finds operand k: in.data[k] + at[k].
template <int N>
struct Places {
  int64_t at[N];
};
template <int N>
DEVICE Places<N> places_of(const Operands<N>& in, int64_t i) {
  Places<N> places = {};
  int64_t column = i;
  if (in.ndim > 0) {
    Divided d = divided(i, in.inner);
    column = d.rest;
    for (int axis = 0; axis < in.ndim; ++axis) {
      d = divided(d.quotient, in.dims[axis]);
      for (int k = 0; k < N; ++k) places.at[k] += d.rest * in.strides[k][axis];
    }
  }
  for (int k = 0; k < N; ++k) places.at[k] += in.steps[k] ? column : 0;
  return places;
}

// Writes a result, in the accumulator's dtype where it is summed next.
template <class T>
DEVICE void write(void* out, bool wide, int64_t i, Accumulator<T> value) {
  if (wide)
    static_cast<Accumulator<T>*>(out)[i] = value;
  else
    to<T>(out)[i] = value;
}

template <class F, class T>
struct UnaryElement {
  using Args = Unary;
  static DEVICE void at(const Args& a, int64_t i) { to<T>(a.out)[i] = F::at(Accumulator<T>(in<T>(a.x)[i])); }
};

template <class F, class T>
struct UnaryGradientElement {
  using Args = UnaryGradient;
  static DEVICE void at(const Args& a, int64_t i) {
    using A = Accumulator<T>;
    const A dout = in<T>(a.dout)[i];
    A saved = in<T>(a.saved)[i];
    if constexpr (F::kSavesOut && sizeof(T) == 2) saved = F::at(saved);
    to<T>(a.dx)[i] = unless_zero(dout, F::gradient(dout, saved));
  }
};

template <class F, class T>
struct BinaryElement {
  using Args = Binary;
  static DEVICE void at(const Args& a, int64_t i) {
    using A = Accumulator<T>;
    const Places<2> p = places_of(a.in, i);
    write<T>(a.out, a.wide, i, F::at(A(in<T>(a.in.data[0])[p.at[0]]), A(in<T>(a.in.data[1])[p.at[1]])));
  }
};

template <class F, class T>
struct BinaryGradientElement {
  using Args = BinaryGradient;
  static DEVICE void at(const Args& a, int64_t i) {
    using A = Accumulator<T>;
    const Places<3> p = places_of(a.in, i);
    const A dout = in<T>(a.in.data[0])[p.at[0]];
    const A value = F::at(dout, A(in<T>(a.in.data[1])[p.at[1]]), A(in<T>(a.in.data[2])[p.at[2]]));
    write<T>(a.out, a.wide, i, unless_zero(dout, value));
  }
};

struct Loops {
  template <class Entry, class Get>
  static constexpr PerDtype<Entry> floats(const Get& get) {
    return for_each_float<Entry>(get);
  }
  template <class F, class T>
  static void unary(const Unary& a, int64_t, int64_t count) {
    start_items<UnaryElement<F, T>>(a, count);
  }
  template <class F, class T>
  static void unary_gradient(const UnaryGradient& a, int64_t, int64_t count) {
    start_items<UnaryGradientElement<F, T>>(a, count);
  }
  template <class F, class T>
  static void binary(const Binary& a, int64_t, int64_t count) {
    start_items<BinaryElement<F, T>>(a, count);
  }
  template <class F, class T>
  static void binary_gradient(const BinaryGradient& a, int64_t, int64_t count) {
    start_items<BinaryGradientElement<F, T>>(a, count);
  }
};

// ---- integers, comparisons, selection -------------------------------------------------------------------------------

template <class F, class T, class Out>
struct PlainElement {  // reads T as it is, or widened, and writes Out
  using Args = Binary;
  static DEVICE void at(const Args& a, int64_t i) {
    const Places<2> p = places_of(a.in, i);
    static_cast<Out*>(a.out)[i] = F::at(widened(static_cast<const T*>(a.in.data[0])[p.at[0]]),
                                        widened(static_cast<const T*>(a.in.data[1])[p.at[1]]));
  }
};
template <class F, class T>
struct PlainUnaryElement {
  using Args = Unary;
  static DEVICE void at(const Args& a, int64_t i) { static_cast<T*>(a.out)[i] = F::at(static_cast<const T*>(a.x)[i]); }
};
template <class T>
struct SelectElement {
  using Args = Select;
  static DEVICE void at(const Args& a, int64_t i) {
    const Places<3> p = places_of(a.in, i);
    const bool cond = static_cast<const bool*>(a.in.data[0])[p.at[0]];
    static_cast<T*>(a.out)[i] =
        cond ? static_cast<const T*>(a.in.data[1])[p.at[1]] : static_cast<const T*>(a.in.data[2])[p.at[2]];
  }
};

struct Found {
  bool zero[kThreads];
};
template <class T>
static __global__ void __launch_bounds__(kThreads) find_zero(const FindZero a) {
  Found& found = shared_memory<Found>();
  bool zero = false;
  for (int64_t i = threadIdx.x; i < a.size; i += kThreads) zero |= static_cast<const T*>(a.x)[i] == T(0);
  found.zero[threadIdx.x] = zero;
  __syncthreads();
  if (threadIdx.x) return;
  for (int t = 1; t < kThreads; ++t) zero |= found.zero[t];
  *a.found = zero;
}
template <class T>
static void start_find_zero(const FindZero& a, int64_t, int64_t) {
  start(find_zero<T>, 1, kThreads, sizeof(Found), a);
}

template <class Args, class Get>
static void put_integers(PerDtype<Kernel<Args>>& row, const Get& get) {
  row.entries[int(DType::int64)] = get.template operator()<int64_t>();
  row.entries[int(DType::int32)] = get.template operator()<int32_t>();
  row.entries[int(DType::int8)] = get.template operator()<int8_t>();
  row.entries[int(DType::uint8)] = get.template operator()<uint8_t>();
}
template <class F>
static void put_plain(PerDtype<Kernel<Binary>>& row) {
  put_integers(row, []<class T>() -> Kernel<Binary> { return each_item<PlainElement<F, T, T>>; });
}
template <class F>
static void put_plain(PerDtype<Kernel<Unary>>& row) {
  put_integers(row, []<class T>() -> Kernel<Unary> { return each_item<PlainUnaryElement<F, T>>; });
}
template <class F>
static void put_comparison(PerDtype<Kernel<Binary>>& row) {
  const auto get = []<class T>() -> Kernel<Binary> { return each_item<PlainElement<F, T, bool>>; };
  row = for_each_float<Kernel<Binary>>(get);
  put_integers(row, get);
  row.entries[int(DType::boolean)] = each_item<PlainElement<F, bool, bool>>;
}

static ElementwiseTable make_table() {
  ElementwiseTable k = table_of<Loops>();
  put_plain<integers::Add>(k.add);
  put_plain<integers::Subtract>(k.subtract);
  put_plain<integers::Multiply>(k.multiply);
  put_plain<integers::FloorDivide>(k.floor_divide);
  put_plain<integers::Maximum>(k.maximum);
  put_plain<integers::Minimum>(k.minimum);
  put_plain<integers::Negate>(k.negate);
  put_plain<integers::Abs>(k.abs);
  put_plain<integers::Square>(k.square);
  put_integers(k.find_zero, []<class T>() -> Kernel<FindZero> { return start_find_zero<T>; });
  put_comparison<integers::Equal>(k.equal);
  put_comparison<integers::NotEqual>(k.not_equal);
  put_comparison<integers::Less>(k.less);
  put_comparison<integers::LessEqual>(k.less_equal);
  k.logical_and.entries[int(DType::boolean)] = each_item<PlainElement<integers::And, bool, bool>>;
  k.logical_or.entries[int(DType::boolean)] = each_item<PlainElement<integers::Or, bool, bool>>;
  k.logical_not.entries[int(DType::boolean)] = each_item<PlainUnaryElement<integers::Not, bool>>;
  k.where = per_item_size<Kernel<Select>>([]<class T>() -> Kernel<Select> { return each_item<SelectElement<T>>; });
  return k;
}

}  // namespace pyformer::cuda::elementwise

namespace pyformer::cuda {

template <>
const ElementwiseTable& cuda_table<ElementwiseTable>() {
  static const ElementwiseTable table = elementwise::make_table();
  return table;
}

}  // namespace pyformer::cuda
