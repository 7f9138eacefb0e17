#include "pyformer/ops/elementwise/elementwise.h"

#include "pyformer/base/dispatch.h"
#include "pyformer/base/thread_pool.h"
#include "pyformer/core/partials.h"
#include "pyformer/ops/elementwise/broadcast.h"

namespace pyformer {

static const KernelSets<ElementwiseKernels>& sets() {
  static const auto sets = kernel_sets<ElementwiseKernels>([]<Isa isa>() { return &elementwise_kernels<isa>(); });
  return sets;
}

template <class Args>
static void run(Kernel<Args> kernel, const Args& args, int64_t size) {
  constexpr int64_t grain = int64_t(1) << 14;
  parallel_for(size, grain, [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
}

// ---- checks -----------------------------------------------------------------------------------------------------

Shape broadcast_shapes(const char* op, const Shape& a, const Shape& b) {
  if (a == b) return a;
  const Shape& longer = a.ndim() >= b.ndim() ? a : b;
  const Shape& other = a.ndim() >= b.ndim() ? b : a;
  Shape out = longer;
  const int offset = longer.ndim() - other.ndim();
  for (int i = 0; i < other.ndim(); ++i) {
    if (other[i] == 1 || other[i] == longer[offset + i]) continue;
    if (longer[offset + i] != 1) throw ValueError(cat(op, ": shapes ", a.str(), " and ", b.str(), " do not broadcast"));
    out[offset + i] = other[i];
  }
  return out;
}

static void check_same_dtype(const char* op, const Array& a, const Array& b) {
  if (a.dtype() == b.dtype()) return;
  const DType expected = is_compute_float(a.dtype()) || !is_compute_float(b.dtype()) ? a.dtype() : b.dtype();
  throw TypeError(
      cat(op, ": expected both operands to be ", name(expected), ", got ", name(a.dtype()), " and ", name(b.dtype())));
}

static TypeError unsupported(const char* op, const char* expected, DType dtype) {
  const bool storage_only = dtype == DType::bfloat16 || dtype == DType::float16;
  return TypeError(cat(op, ": expected ", expected, ", got ", name(dtype),
                       storage_only ? ", which is storage only: cast to float32 first" : ""));
}

// The kernel of an op that takes floats, and integers where integers is given.
template <class Args>
static Kernel<Args> kernel_for(const char* op, DType dtype, Kernel<Args> (ElementwiseKernels::*floats)[2],
                               Kernel<Args> (IntegerKernels::*integers)[2]) {
  if (is_compute_float(dtype)) return find_kernel(op, sets(), floats, dtype);
  if (!integers) throw unsupported(op, "float32 or float64", dtype);
  if (!is_integer(dtype)) throw unsupported(op, "float32, float64, int64 or int32", dtype);
  return (integer_kernels().*integers)[dtype == DType::int64 ? 0 : 1];
}

// ---- Array functions --------------------------------------------------------------------------------------------

static Array broadcast_binary(const char* op, Kernel<Binary> kernel, const Array& a, const Array& b, DType dtype) {
  const Shape shape = broadcast_shapes(op, a.shape(), b.shape());
  Array out = Array::empty(shape, dtype);
  Binary args;
  plan_operands(args.in, shape, {&a, &b});
  args.out = out.raw();
  args.nontemporal = out.bytes() >= kNontemporalToAll;
  run(kernel, args, out.size());
  return out;
}

static Array binary(const char* op, Kernel<Binary> (ElementwiseKernels::*floats)[2],
                    Kernel<Binary> (IntegerKernels::*integers)[2], const Array& a, const Array& b) {
  check_same_dtype(op, a, b);
  return broadcast_binary(op, kernel_for(op, a.dtype(), floats, integers), a, b, a.dtype());
}

static Array unary(const char* op, Kernel<Unary> (ElementwiseKernels::*floats)[2],
                   Kernel<Unary> (IntegerKernels::*integers)[2], const Array& x) {
  const Kernel<Unary> kernel = kernel_for(op, x.dtype(), floats, integers);
  Array out = Array::empty(x.shape(), x.dtype());
  run(kernel, Unary{x.raw(), out.raw(), out.bytes() >= kNontemporalToAll}, out.size());
  return out;
}

Array add_forward(const Array& a, const Array& b) {
  return binary("add", &ElementwiseKernels::add, &IntegerKernels::add, a, b);
}
Array subtract_forward(const Array& a, const Array& b) {
  return binary("subtract", &ElementwiseKernels::subtract, &IntegerKernels::subtract, a, b);
}
Array multiply_forward(const Array& a, const Array& b) {
  return binary("multiply", &ElementwiseKernels::multiply, &IntegerKernels::multiply, a, b);
}
Array divide_forward(const Array& a, const Array& b) {
  return binary("divide", &ElementwiseKernels::divide, nullptr, a, b);
}
Array maximum_forward(const Array& a, const Array& b) {
  return binary("maximum", &ElementwiseKernels::maximum, &IntegerKernels::maximum, a, b);
}
Array minimum_forward(const Array& a, const Array& b) {
  return binary("minimum", &ElementwiseKernels::minimum, &IntegerKernels::minimum, a, b);
}
Array power_forward(const Array& a, const Array& b) {
  return binary("power", &ElementwiseKernels::power, nullptr, a, b);
}

template <class T>
static bool has_zero(const Array& array) {
  const T* x = array.data<T>();
  for (int64_t i = 0; i < array.size(); ++i)
    if (x[i] == 0) return true;
  return false;
}

Array floor_divide_forward(const Array& a, const Array& b) {
  check_same_dtype("floor_divide", a, b);
  if (!is_integer(a.dtype())) throw unsupported("floor_divide", "int64 or int32", a.dtype());
  if (b.dtype() == DType::int64 ? has_zero<int64_t>(b) : has_zero<int32_t>(b))
    throw ValueError("floor_divide: division by zero");
  const Kernel<Binary> kernel = integer_kernels().floor_divide[a.dtype() == DType::int64 ? 0 : 1];
  return broadcast_binary("floor_divide", kernel, a, b, a.dtype());
}

Array negate_forward(const Array& x) {
  return unary("negate", &ElementwiseKernels::negate, &IntegerKernels::negate, x);
}
Array exp_forward(const Array& x) { return unary("exp", &ElementwiseKernels::exp, nullptr, x); }
Array log_forward(const Array& x) { return unary("log", &ElementwiseKernels::log, nullptr, x); }
Array sqrt_forward(const Array& x) { return unary("sqrt", &ElementwiseKernels::sqrt, nullptr, x); }
Array abs_forward(const Array& x) { return unary("abs", &ElementwiseKernels::abs, &IntegerKernels::abs, x); }
Array sin_forward(const Array& x) { return unary("sin", &ElementwiseKernels::sin, nullptr, x); }
Array cos_forward(const Array& x) { return unary("cos", &ElementwiseKernels::cos, nullptr, x); }
Array square_forward(const Array& x) {
  return unary("square", &ElementwiseKernels::square, &IntegerKernels::square, x);
}
Array tanh_forward(const Array& x) { return unary("tanh", &ElementwiseKernels::tanh, nullptr, x); }
Array sigmoid_forward(const Array& x) { return unary("sigmoid", &ElementwiseKernels::sigmoid, nullptr, x); }
Array relu_forward(const Array& x) { return unary("relu", &ElementwiseKernels::relu, nullptr, x); }
Array silu_forward(const Array& x) { return unary("silu", &ElementwiseKernels::silu, nullptr, x); }

// ---- sum_to -----------------------------------------------------------------------------------------------------

// (outer, length, inner) -> (outer, inner)
static Array sum_middle(const Array& x, int64_t outer, int64_t length, int64_t inner) {
  Array out = Array::empty({outer, inner}, x.dtype());
  if (out.size() == 0) return out;
  if (inner == 1) {
    const auto kernel = find_kernel("sum_to", sets(), &ElementwiseKernels::sum_rows, x.dtype());
    const SumRows args = {length, x.raw(), out.raw()};
    const int64_t grain = std::max<int64_t>(1, (int64_t(1) << 14) / std::max<int64_t>(1, length));
    parallel_for(outer, grain, [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
  } else {
    const auto kernel = find_kernel("sum_to", sets(), &ElementwiseKernels::sum_columns, x.dtype());
    const SumColumns args = {length, inner, x.raw(), out.raw()};
    const int64_t strips = (inner + SumColumns::kStrip - 1) / SumColumns::kStrip;
    const int64_t strip_size = std::max<int64_t>(1, length * std::min(inner, SumColumns::kStrip));
    const int64_t grain = std::max<int64_t>(1, (int64_t(1) << 14) / strip_size);
    parallel_for(outer * strips, grain, [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
  }
  return out;
}

Array sum_to(const Array& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  const int ndim = x.ndim(), missing = ndim - shape.ndim();
  const auto kept = [&](int axis) { return axis < missing ? int64_t(1) : shape[axis - missing]; };
  const auto summed = [&](int axis) { return kept(axis) == 1 && x.dim(axis) != 1; };
  Array result = x;
  int64_t inner = 1;  // of the axes behind, as they are in the result
  for (int last = ndim - 1; last >= 0; --last) {
    if (!summed(last)) {
      inner *= kept(last);
      continue;
    }
    int first = last;
    int64_t length = x.dim(last);
    while (first > 0 && (summed(first - 1) || x.dim(first - 1) == 1)) length *= x.dim(--first);
    result = sum_middle(result, Shape(x.shape().begin(), first).size(), length, inner);
    last = first;
  }
  return result.reshape(shape);
}

// ---- gradients of binary functions ------------------------------------------------------------------------------

static Array binary_gradient(const char* op, Kernel<BinaryGradient> (ElementwiseKernels::*row)[2], const Array& dout,
                             const Array& a, const Array& b, const Shape& shape) {
  const auto kernel = find_kernel(op, sets(), row, dout.dtype());
  Array gradient = Array::empty(dout.shape(), dout.dtype());
  BinaryGradient args;
  plan_operands(args.in, dout.shape(), {&dout, &a, &b});
  args.out = gradient.raw();
  args.nontemporal = gradient.bytes() >= kNontemporalToAll;
  run(kernel, args, gradient.size());
  return sum_to(gradient, shape);
}

static Saved save_if(bool needed, const Tensor& x) { return needed ? save(x) : Saved(); }

Tensor add(const Tensor& a, const Tensor& b) {
  Array out = add_forward(a.array(), b.array());
  if (!needs_recording({a, b})) return Tensor(std::move(out));
  return record("add", {a, b}, std::move(out),
                [a = a.shape(), b = b.shape()](const Array& dout, const Needs& need) -> Gradients {
                  return {need[0] ? sum_to(dout, a) : Array(), need[1] ? sum_to(dout, b) : Array()};
                });
}

Tensor subtract(const Tensor& a, const Tensor& b) {
  Array out = subtract_forward(a.array(), b.array());
  if (!needs_recording({a, b})) return Tensor(std::move(out));
  return record("subtract", {a, b}, std::move(out),
                [a = a.shape(), b = b.shape()](const Array& dout, const Needs& need) -> Gradients {
                  return {need[0] ? sum_to(dout, a) : Array(), need[1] ? negate_forward(sum_to(dout, b)) : Array()};
                });
}

Tensor multiply(const Tensor& a, const Tensor& b) {
  Array out = multiply_forward(a.array(), b.array());
  if (!needs_recording({a, b})) return Tensor(std::move(out));
  return record("multiply", {a, b}, std::move(out),
                [a = save_if(b.requires_grad(), a), b = save_if(a.requires_grad(), b), a_shape = a.shape(),
                 b_shape = b.shape()](const Array& dout, const Needs& need) -> Gradients {
                  return {need[0] ? sum_to(multiply_forward(dout, b()), a_shape) : Array(),
                          need[1] ? sum_to(multiply_forward(dout, a()), b_shape) : Array()};
                });
}

Tensor divide(const Tensor& a, const Tensor& b) {
  Array out = divide_forward(a.array(), b.array());
  if (!needs_recording({a, b})) return Tensor(std::move(out));
  return record("divide", {a, b}, std::move(out),
                [a = save_if(b.requires_grad(), a), b = save(b), a_shape = a.shape()](const Array& dout,
                                                                                      const Needs& need) -> Gradients {
                  return {need[0] ? sum_to(divide_forward(dout, b()), a_shape) : Array(),
                          need[1]
                              ? binary_gradient("divide", &ElementwiseKernels::divide_db, dout, a(), b(), b().shape())
                              : Array()};
                });
}

// Ops whose two gradients each need dout, a and b.
static Tensor record_binary(const char* op, const Tensor& a, const Tensor& b, Array out,
                            Kernel<BinaryGradient> (ElementwiseKernels::*da)[2],
                            Kernel<BinaryGradient> (ElementwiseKernels::*db)[2]) {
  if (!needs_recording({a, b})) return Tensor(std::move(out));
  return record(op, {a, b}, std::move(out),
                [op, da, db, a = save(a), b = save(b)](const Array& dout, const Needs& need) -> Gradients {
                  const auto gradient = [&](bool needed, auto row, const Array& of) {
                    return needed ? binary_gradient(op, row, dout, a(), b(), of.shape()) : Array();
                  };
                  return {gradient(need[0], da, a()), gradient(need[1], db, b())};
                });
}

Tensor maximum(const Tensor& a, const Tensor& b) {
  return record_binary("maximum", a, b, maximum_forward(a.array(), b.array()), &ElementwiseKernels::maximum_da,
                       &ElementwiseKernels::maximum_db);
}
Tensor minimum(const Tensor& a, const Tensor& b) {
  return record_binary("minimum", a, b, minimum_forward(a.array(), b.array()), &ElementwiseKernels::minimum_da,
                       &ElementwiseKernels::minimum_db);
}
Tensor power(const Tensor& a, const Tensor& b) {
  return record_binary("power", a, b, power_forward(a.array(), b.array()), &ElementwiseKernels::power_da,
                       &ElementwiseKernels::power_db);
}

Tensor floor_divide(const Tensor& a, const Tensor& b) {
  return no_gradient(floor_divide_forward(a.array(), b.array()));
}

// ---- gradients of functions of one operand ----------------------------------------------------------------------

static Tensor record_unary(const char* op, const Tensor& x, Array out, const Array& saved,
                           Kernel<UnaryGradient> (ElementwiseKernels::*row)[2]) {
  if (!needs_recording({x})) return Tensor(std::move(out));
  return record(op, {x}, std::move(out), [op, row, saved = save(saved)](const Array& dout, const Needs&) -> Gradients {
    const auto kernel = find_kernel(op, sets(), row, dout.dtype());
    Array dx = Array::empty(dout.shape(), dout.dtype());
    run(kernel, UnaryGradient{dout.raw(), saved().raw(), dx.raw(), dx.bytes() >= kNontemporalToAll}, dx.size());
    return {dx};
  });
}

Tensor negate(const Tensor& x) {
  return record("negate", {x}, negate_forward(x.array()),
                [](const Array& dout, const Needs&) -> Gradients { return {negate_forward(dout)}; });
}
Tensor exp(const Tensor& x) {
  const Array out = exp_forward(x.array());
  return record_unary("exp", x, out, out, &ElementwiseKernels::exp_dx);
}
Tensor log(const Tensor& x) {
  return record_unary("log", x, log_forward(x.array()), x.array(), &ElementwiseKernels::log_dx);
}
Tensor sqrt(const Tensor& x) {
  const Array out = sqrt_forward(x.array());
  return record_unary("sqrt", x, out, out, &ElementwiseKernels::sqrt_dx);
}
Tensor abs(const Tensor& x) {
  return record_unary("abs", x, abs_forward(x.array()), x.array(), &ElementwiseKernels::abs_dx);
}
Tensor sin(const Tensor& x) {
  return record_unary("sin", x, sin_forward(x.array()), x.array(), &ElementwiseKernels::sin_dx);
}
Tensor cos(const Tensor& x) {
  return record_unary("cos", x, cos_forward(x.array()), x.array(), &ElementwiseKernels::cos_dx);
}
Tensor square(const Tensor& x) {
  return record_unary("square", x, square_forward(x.array()), x.array(), &ElementwiseKernels::square_dx);
}
Tensor tanh(const Tensor& x) {
  const Array out = tanh_forward(x.array());
  return record_unary("tanh", x, out, out, &ElementwiseKernels::tanh_dx);
}
Tensor sigmoid(const Tensor& x) {
  const Array out = sigmoid_forward(x.array());
  return record_unary("sigmoid", x, out, out, &ElementwiseKernels::sigmoid_dx);
}
Tensor relu(const Tensor& x) {
  const Array out = relu_forward(x.array());
  return record_unary("relu", x, out, out, &ElementwiseKernels::relu_dx);
}
Tensor silu(const Tensor& x) {
  return record_unary("silu", x, silu_forward(x.array()), x.array(), &ElementwiseKernels::silu_dx);
}

// ---- comparisons and logic --------------------------------------------------------------------------------------

static Tensor compare(const char* op, Kernel<Binary> (CompareKernels::*row)[7], const Tensor& a, const Tensor& b) {
  check_same_dtype(op, a.array(), b.array());
  const Kernel<Binary> kernel = (compare_kernels().*row)[int(a.dtype())];
  if (!kernel) throw unsupported(op, "float32, float64, int64, int32 or bool", a.dtype());
  return no_gradient(broadcast_binary(op, kernel, a.array(), b.array(), DType::boolean));
}

Tensor equal(const Tensor& a, const Tensor& b) { return compare("equal", &CompareKernels::equal, a, b); }
Tensor not_equal(const Tensor& a, const Tensor& b) { return compare("not_equal", &CompareKernels::not_equal, a, b); }
Tensor less(const Tensor& a, const Tensor& b) { return compare("less", &CompareKernels::less, a, b); }
Tensor less_equal(const Tensor& a, const Tensor& b) { return compare("less_equal", &CompareKernels::less_equal, a, b); }
// a > b as b < a; errors name the operands as they were given.
static Tensor compare_swapped(const char* op, Kernel<Binary> (CompareKernels::*row)[7], const Tensor& a,
                              const Tensor& b) {
  check_same_dtype(op, a.array(), b.array());
  broadcast_shapes(op, a.shape(), b.shape());
  return compare(op, row, b, a);
}

Tensor greater(const Tensor& a, const Tensor& b) { return compare_swapped("greater", &CompareKernels::less, a, b); }
Tensor greater_equal(const Tensor& a, const Tensor& b) {
  return compare_swapped("greater_equal", &CompareKernels::less_equal, a, b);
}

// On bool, a and b is min(a, b) and a or b is max(a, b).
template <class Combine>
static Tensor logical(const char* op, const Tensor& a, const Tensor& b, const Combine& combine) {
  for (const Tensor* t : {&a, &b})
    if (t->dtype() != DType::boolean) throw TypeError(cat(op, ": expected bool, got ", name(t->dtype())));
  const Shape shape = broadcast_shapes(op, a.shape(), b.shape());
  Array out = Array::empty(shape, DType::boolean);
  Operands<2> in;
  plan_operands(in, shape, {&a.array(), &b.array()});
  bool* result = out.data<bool>();
  if (out.size() == 0) return no_gradient(out);
  walk_rows(in, 0, out.size(), [&](const int64_t* at, int64_t start, int64_t n) {
    const bool* x = static_cast<const bool*>(in.data[0]) + at[0];
    const bool* y = static_cast<const bool*>(in.data[1]) + at[1];
    const int64_t step_x = in.steps[0], step_y = in.steps[1];
    for (int64_t i = 0; i < n; ++i) result[start + i] = combine(x[i * step_x], y[i * step_y]);
  });
  return no_gradient(out);
}

Tensor logical_and(const Tensor& a, const Tensor& b) {
  return logical("logical_and", a, b, [](bool x, bool y) { return x && y; });
}
Tensor logical_or(const Tensor& a, const Tensor& b) {
  return logical("logical_or", a, b, [](bool x, bool y) { return x || y; });
}
Tensor logical_not(const Tensor& x) {
  return logical("logical_not", x, x, [](bool y, bool) { return !y; });
}

// ---- where ------------------------------------------------------------------------------------------------------

// T, unsigned, only sets the width of an element. Masks instead of branches: conditions are often random.
template <class T>
static T chosen(bool cond, T a, T b) {
  const T mask = T(0) - T(cond);
  return T((a & mask) | (b & ~mask));
}

template <class T, bool steps_a, bool steps_b>
static void select_row(const bool* cond, const T* a, const T* b, T* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = chosen(cond[i], a[steps_a ? i : 0], b[steps_b ? i : 0]);
}

template <class T>
static void select_elements(const Operands<3>& in, T* out, int64_t size) {
  const auto row = in.steps[1] ? (in.steps[2] ? select_row<T, true, true> : select_row<T, true, false>)
                               : (in.steps[2] ? select_row<T, false, true> : select_row<T, false, false>);
  const auto rows = [&](int64_t begin, int64_t end) {
    walk_rows(in, begin, end, [&](const int64_t* at, int64_t start, int64_t n) {
      const bool* cond = static_cast<const bool*>(in.data[0]) + at[0];
      const T* a = static_cast<const T*>(in.data[1]) + at[1];
      const T* b = static_cast<const T*>(in.data[2]) + at[2];
      if (in.steps[0]) return row(cond, a, b, out + start, n);
      const T* source = *cond ? a : b;
      const int64_t step = in.steps[*cond ? 1 : 2];
      for (int64_t i = 0; i < n; ++i) out[start + i] = source[i * step];
    });
  };
  constexpr int64_t grain = int64_t(1) << 14;
  if (size > 0) parallel_for(size, grain, rows);
}

Array where_forward(const Array& cond, const Array& a, const Array& b) {
  if (cond.dtype() != DType::boolean) throw TypeError(cat("where: expected cond to be bool, got ", name(cond.dtype())));
  check_same_dtype("where", a, b);
  const Shape shape = broadcast_shapes("where", cond.shape(), broadcast_shapes("where", a.shape(), b.shape()));
  Array out = Array::empty(shape, a.dtype());
  Operands<3> in;
  plan_operands(in, shape, {&cond, &a, &b});
  switch (item_bytes(a.dtype())) {
    case 1:
      select_elements(in, static_cast<uint8_t*>(out.raw()), out.size());
      break;
    case 2:
      select_elements(in, static_cast<uint16_t*>(out.raw()), out.size());
      break;
    case 4:
      select_elements(in, static_cast<uint32_t*>(out.raw()), out.size());
      break;
    default:
      select_elements(in, static_cast<uint64_t*>(out.raw()), out.size());
  }
  return out;
}

// An operand that was not chosen gets 0, whatever dout holds there: it is selected, not multiplied by the mask.
Tensor where(const Tensor& cond, const Tensor& a, const Tensor& b) {
  Array out = where_forward(cond.array(), a.array(), b.array());
  if (!needs_recording({a, b})) return Tensor(std::move(out));
  return record("where", {a, b}, std::move(out),
                [cond = save(cond), a = a.shape(), b = b.shape()](const Array& dout, const Needs& need) -> Gradients {
                  const Array zero = Array::zeros({}, dout.dtype());
                  return {need[0] ? sum_to(where_forward(cond(), dout, zero), a) : Array(),
                          need[1] ? sum_to(where_forward(cond(), zero, dout), b) : Array()};
                });
}

}  // namespace pyformer
