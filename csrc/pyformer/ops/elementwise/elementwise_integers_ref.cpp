// Integers, which wrap around, comparisons, logic and selection: plain loops, the only ones there are for these.
#include "pyformer/ops/elementwise/elementwise_integers.h"

#include "pyformer/ops/elementwise/elementwise_integer_functions.h"
#include "pyformer/ops/elementwise/elementwise_rows.h"

namespace pyformer::PF_ISA::elementwise::integers {

template <class F, class T, class Out>
static void binary(const Binary& args, int64_t begin, int64_t end) {
  binary_rows(args, begin, end, binary_row<F, T, Out>, sizeof(T), sizeof(Out));
}

template <class F, class T>
static void unary(const Unary& a, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) static_cast<T*>(a.out)[i] = F::at(static_cast<const T*>(a.x)[i]);
}

template <class T>
static void find_zero(const FindZero& a, int64_t, int64_t) {
  *a.found = 0;
  for (int64_t i = 0; i < a.size && !*a.found; ++i) *a.found = static_cast<const T*>(a.x)[i] == T(0);
}

template <class T, bool steps_a, bool steps_b>
static void select_row(const bool* cond, const T* a, const T* b, T* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = chosen(cond[i], a[steps_a ? i : 0], b[steps_b ? i : 0]);
}

template <class T>
static void select_elements(const Select& args, int64_t begin, int64_t end) {
  const Operands<3>& in = args.in;
  const auto row = in.steps[1] ? (in.steps[2] ? select_row<T, true, true> : select_row<T, true, false>)
                               : (in.steps[2] ? select_row<T, false, true> : select_row<T, false, false>);
  walk_rows(in, begin, end, [&](const int64_t* at, int64_t start, int64_t n) {
    const bool* cond = static_cast<const bool*>(in.data[0]) + at[0];
    const T* a = static_cast<const T*>(in.data[1]) + at[1];
    const T* b = static_cast<const T*>(in.data[2]) + at[2];
    T* out = static_cast<T*>(args.out) + start;
    if (in.steps[0]) return row(cond, a, b, out, n);
    const T* source = *cond ? a : b;
    const int64_t step = in.steps[*cond ? 1 : 2];
    for (int64_t i = 0; i < n; ++i) out[i] = source[i * step];
  });
}

template <class Args, class Get>
static constexpr void put(PerDtype<Kernel<Args>>& row, const Get& get) {
  row.entries[int(DType::int64)] = get.template operator()<int64_t>();
  row.entries[int(DType::int32)] = get.template operator()<int32_t>();
  row.entries[int(DType::int8)] = get.template operator()<int8_t>();
  row.entries[int(DType::uint8)] = get.template operator()<uint8_t>();
}
template <class F>
static constexpr void put(PerDtype<Kernel<Binary>>& row) {
  put(row, []<class T>() -> Kernel<Binary> { return binary<F, T, T>; });
}
template <class F>
static constexpr void put(PerDtype<Kernel<Unary>>& row) {
  put(row, []<class T>() -> Kernel<Unary> { return unary<F, T>; });
}
template <class F>
static constexpr void put_comparison(PerDtype<Kernel<Binary>>& row) {
  const auto get = []<class T>() -> Kernel<Binary> { return binary<F, T, bool>; };
  row = for_each_float<Kernel<Binary>>(get);
  put(row, get);
  row.entries[int(DType::boolean)] = binary<F, bool, bool>;
}

ElementwiseTable with_integers(ElementwiseTable k) {
  put<Add>(k.add);
  put<Subtract>(k.subtract);
  put<Multiply>(k.multiply);
  put<FloorDivide>(k.floor_divide);
  put<Maximum>(k.maximum);
  put<Minimum>(k.minimum);
  put<Negate>(k.negate);
  put<Abs>(k.abs);
  put<Square>(k.square);
  put(k.find_zero, []<class T>() -> Kernel<FindZero> { return find_zero<T>; });
  put_comparison<Equal>(k.equal);
  put_comparison<NotEqual>(k.not_equal);
  put_comparison<Less>(k.less);
  put_comparison<LessEqual>(k.less_equal);
  k.logical_and.entries[int(DType::boolean)] = binary<And, bool, bool>;
  k.logical_or.entries[int(DType::boolean)] = binary<Or, bool, bool>;
  k.logical_not.entries[int(DType::boolean)] = unary<Not, bool>;
  k.where = per_item_size<Kernel<Select>>([]<class T>() -> Kernel<Select> { return select_elements<T>; });
  return k;
}

}  // namespace pyformer::PF_ISA::elementwise::integers
