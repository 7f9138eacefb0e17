#include "pyformer/ops/elementwise/elementwise.h"

#include "pyformer/base/run.h"
#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/core/precision.h"
#include "pyformer/ops/elementwise/broadcast.h"
#include "pyformer/ops/elementwise/has_zero.h"
#include "pyformer/ops/reduce/reduce.h"

namespace pyformer {

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

static void check_operands(const char* op, const Array& a, const Array& b) {
  check_device(op, "b", b, "a", a);
  if (a.dtype() == b.dtype()) return;
  const DType expected = is_float(a.dtype()) || !is_float(b.dtype()) ? a.dtype() : b.dtype();
  throw TypeError(
      cat(op, ": expected both operands to be ", name(expected), ", got ", name(a.dtype()), " and ", name(b.dtype())));
}

// ---- Array functions --------------------------------------------------------------------------------------------

using BinaryRow = PerDtype<Kernel<Binary>> ElementwiseTable::*;
using UnaryRow = PerDtype<Kernel<Unary>> ElementwiseTable::*;

// out: the result's dtype; for a gradient that is summed next it may be the accumulator of a's.
static Array binary(const char* op, BinaryRow row, const Array& a, const Array& b, DType dtype) {
  check_operands(op, a, b);
  const Shape shape = broadcast_shapes(op, a.shape(), b.shape());
  Array out = a.like(shape, dtype);
  Binary args;
  args.size = out.size();
  plan_operands(args.in, shape, {&a, &b});
  args.out = out.raw();
  args.wide = dtype != a.dtype();
  args.nontemporal = out.bytes() >= kNontemporalToAll;
  run(op, row, a, args);
  return out;
}

static Array binary(const char* op, BinaryRow row, const Array& a, const Array& b) {
  return binary(op, row, a, b, a.dtype());
}

static Array unary(const char* op, UnaryRow row, const Array& x) {
  Array out = x.like(x.shape());
  run(op, row, x, Unary{x.size(), x.raw(), out.raw(), out.bytes() >= kNontemporalToAll});
  return out;
}

Array add_forward(const Array& a, const Array& b) { return binary("add", &ElementwiseTable::add, a, b); }
Array subtract_forward(const Array& a, const Array& b) { return binary("subtract", &ElementwiseTable::subtract, a, b); }
Array multiply_forward(const Array& a, const Array& b) { return binary("multiply", &ElementwiseTable::multiply, a, b); }
Array divide_forward(const Array& a, const Array& b) { return binary("divide", &ElementwiseTable::divide, a, b); }
Array maximum_forward(const Array& a, const Array& b) { return binary("maximum", &ElementwiseTable::maximum, a, b); }
Array minimum_forward(const Array& a, const Array& b) { return binary("minimum", &ElementwiseTable::minimum, a, b); }
Array power_forward(const Array& a, const Array& b) { return binary("power", &ElementwiseTable::power, a, b); }

Array floor_divide_forward(const Array& a, const Array& b) {
  check_operands("floor_divide", a, b);
  if (has_zero("floor_divide", b)) throw ValueError("floor_divide: division by zero");
  return binary("floor_divide", &ElementwiseTable::floor_divide, a, b);
}

Array negate_forward(const Array& x) { return unary("negate", &ElementwiseTable::negate, x); }
Array exp_forward(const Array& x) { return unary("exp", &ElementwiseTable::exp, x); }
Array log_forward(const Array& x) { return unary("log", &ElementwiseTable::log, x); }
Array sqrt_forward(const Array& x) { return unary("sqrt", &ElementwiseTable::sqrt, x); }
Array abs_forward(const Array& x) { return unary("abs", &ElementwiseTable::abs, x); }
Array sin_forward(const Array& x) { return unary("sin", &ElementwiseTable::sin, x); }
Array cos_forward(const Array& x) { return unary("cos", &ElementwiseTable::cos, x); }
Array square_forward(const Array& x) { return unary("square", &ElementwiseTable::square, x); }
Array tanh_forward(const Array& x) { return unary("tanh", &ElementwiseTable::tanh, x); }
Array sigmoid_forward(const Array& x) { return unary("sigmoid", &ElementwiseTable::sigmoid, x); }
Array relu_forward(const Array& x) { return unary("relu", &ElementwiseTable::relu, x); }
Array silu_forward(const Array& x) { return unary("silu", &ElementwiseTable::silu, x); }

// ---- sum_to -----------------------------------------------------------------------------------------------------

Array sum_to(const Array& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  const int ndim = x.ndim(), missing = ndim - shape.ndim();
  const auto kept = [&](int axis) { return axis < missing ? int64_t(1) : shape[axis - missing]; };
  // An axis of extent 1 in both is kept: which sums are one must not depend on how many there are beside it.
  const auto summed = [&](int axis) { return axis < missing || (kept(axis) == 1 && x.dim(axis) != 1); };
  Array result = x;
  int64_t inner = 1;  // of the axes behind, as they are in the result
  for (int last = ndim - 1; last >= 0; --last) {
    if (!summed(last)) {
      inner *= kept(last);
      continue;
    }
    int first = last;
    int64_t length = x.dim(last);
    while (first > 0 && summed(first - 1)) length *= x.dim(--first);
    result = sum_middle(result, Shape(x.shape().begin(), first).size(), length, inner);
    last = first;
  }
  return result.reshape(shape);
}

// ---- gradients of binary functions ------------------------------------------------------------------------------

// The dtype of a gradient of the output's shape that is given for an operand of this shape.
static DType gradient_of(const Array& dout, const Shape& operand) {
  return operand == dout.shape() ? dout.dtype() : accumulator(dout.dtype());
}

static Array binary_gradient(const char* op, PerDtype<Kernel<BinaryGradient>> ElementwiseTable::* row,
                             const Array& dout, const Array& a, const Array& b, const Shape& shape) {
  const Array gradient = dout.like(dout.shape(), gradient_of(dout, shape));
  BinaryGradient args;
  args.size = gradient.size();
  plan_operands(args.in, dout.shape(), {&dout, &a, &b});
  args.out = gradient.raw();
  args.wide = gradient.dtype() != dout.dtype();
  args.nontemporal = gradient.bytes() >= kNontemporalToAll;
  run(op, row, dout, args);
  return sum_to(gradient, shape);
}

// dout * other or dout / other, summed to the shape of the operand that it is the gradient of.
static Array simple_gradient(const char* op, BinaryRow row, const Array& dout, const Array& other, const Shape& shape) {
  return sum_to(binary(op, row, dout, other, gradient_of(dout, shape)), shape);
}

static Tensor logic(const char* op, BinaryRow row, const Tensor& a, const Tensor& b) {
  return no_gradient(binary(op, row, a.array(), b.array()));
}

// Of bools, + and maximum are or, * and minimum are and.
static bool are_bools(const Tensor& a, const Tensor& b) {
  return a.dtype() == DType::boolean && b.dtype() == DType::boolean;
}

static Saved save_if(bool needed, const Tensor& x) { return needed ? save(x) : Saved(); }

Tensor add(const Tensor& a, const Tensor& b) {
  if (are_bools(a, b)) return logic("add", &ElementwiseTable::logical_or, a, b);
  if (has_narrow({a, b})) return add(widened(a), widened(b));
  Array out = add_forward(a.array(), b.array());
  if (!needs_recording({a, b})) return Tensor(std::move(out));
  return record("add", {a, b}, std::move(out),
                [a = a.shape(), b = b.shape()](const Array& dout, const Needs& need) -> Gradients {
                  return {need[0] ? sum_to(dout, a) : Array(), need[1] ? sum_to(dout, b) : Array()};
                });
}

Tensor subtract(const Tensor& a, const Tensor& b) {
  if (has_narrow({a, b})) return subtract(widened(a), widened(b));
  Array out = subtract_forward(a.array(), b.array());
  if (!needs_recording({a, b})) return Tensor(std::move(out));
  return record("subtract", {a, b}, std::move(out),
                [a = a.shape(), b = b.shape()](const Array& dout, const Needs& need) -> Gradients {
                  return {need[0] ? sum_to(dout, a) : Array(), need[1] ? negate_forward(sum_to(dout, b)) : Array()};
                });
}

Tensor multiply(const Tensor& a, const Tensor& b) {
  if (are_bools(a, b)) return logic("multiply", &ElementwiseTable::logical_and, a, b);
  if (has_narrow({a, b})) return multiply(widened(a), widened(b));
  Array out = multiply_forward(a.array(), b.array());
  if (!needs_recording({a, b})) return Tensor(std::move(out));
  return record(
      "multiply", {a, b}, std::move(out),
      [a = save_if(b.requires_grad(), a), b = save_if(a.requires_grad(), b), a_shape = a.shape(), b_shape = b.shape()](
          const Array& dout, const Needs& need) -> Gradients {
        return {
            need[0] ? simple_gradient("multiply", &ElementwiseTable::multiply_gradient, dout, b(), a_shape) : Array(),
            need[1] ? simple_gradient("multiply", &ElementwiseTable::multiply_gradient, dout, a(), b_shape) : Array()};
      });
}

Tensor divide(const Tensor& a, const Tensor& b) {
  if (has_narrow({a, b})) return divide(widened(a), widened(b));
  Array out = divide_forward(a.array(), b.array());
  if (!needs_recording({a, b})) return Tensor(std::move(out));
  return record(
      "divide", {a, b}, std::move(out),
      [a = save_if(b.requires_grad(), a), b = save(b), a_shape = a.shape()](const Array& dout,
                                                                            const Needs& need) -> Gradients {
        return {
            need[0] ? simple_gradient("divide", &ElementwiseTable::divide_gradient, dout, b(), a_shape) : Array(),
            need[1] ? binary_gradient("divide", &ElementwiseTable::divide_db, dout, a(), b(), b().shape()) : Array()};
      });
}

// Ops whose two gradients each need dout, a and b.
static Tensor record_binary(const char* op, const Tensor& a, const Tensor& b, Array out,
                            PerDtype<Kernel<BinaryGradient>> ElementwiseTable::* da,
                            PerDtype<Kernel<BinaryGradient>> ElementwiseTable::* db) {
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
  if (are_bools(a, b)) return logic("maximum", &ElementwiseTable::logical_or, a, b);
  if (has_narrow({a, b})) return maximum(widened(a), widened(b));
  return record_binary("maximum", a, b, maximum_forward(a.array(), b.array()), &ElementwiseTable::maximum_da,
                       &ElementwiseTable::maximum_db);
}
Tensor minimum(const Tensor& a, const Tensor& b) {
  if (are_bools(a, b)) return logic("minimum", &ElementwiseTable::logical_and, a, b);
  if (has_narrow({a, b})) return minimum(widened(a), widened(b));
  return record_binary("minimum", a, b, minimum_forward(a.array(), b.array()), &ElementwiseTable::minimum_da,
                       &ElementwiseTable::minimum_db);
}
Tensor power(const Tensor& a, const Tensor& b) {
  if (has_narrow({a, b})) return power(widened(a), widened(b));
  return record_binary("power", a, b, power_forward(a.array(), b.array()), &ElementwiseTable::power_da,
                       &ElementwiseTable::power_db);
}

Tensor floor_divide(const Tensor& a, const Tensor& b) {
  if (has_narrow({a, b})) return floor_divide(widened(a), widened(b));
  return no_gradient(floor_divide_forward(a.array(), b.array()));
}

// ---- gradients of functions of one operand ----------------------------------------------------------------------

static Tensor record_unary(const char* op, const Tensor& x, Array out, const Array& saved,
                           PerDtype<Kernel<UnaryGradient>> ElementwiseTable::* row) {
  if (!needs_recording({x})) return Tensor(std::move(out));
  const bool is_half = accumulator(x.dtype()) != x.dtype();
  return record(op, {x}, std::move(out),
                [op, row, saved = save(is_half ? x.array() : saved)](const Array& dout, const Needs&) -> Gradients {
                  Array dx = dout.like(dout.shape());
                  run(op, row, dout,
                      UnaryGradient{dx.size(), dout.raw(), saved().raw(), dx.raw(), dx.bytes() >= kNontemporalToAll});
                  return {dx};
                });
}

Tensor negate(const Tensor& x) {
  if (has_narrow({x})) return negate(widened(x));
  return record("negate", {x}, negate_forward(x.array()),
                [](const Array& dout, const Needs&) -> Gradients { return {negate_forward(dout)}; });
}
Tensor exp(const Tensor& x) {
  if (has_narrow({x})) return exp(widened(x));
  const Array out = exp_forward(x.array());
  return record_unary("exp", x, out, out, &ElementwiseTable::exp_dx);
}
Tensor log(const Tensor& x) {
  if (has_narrow({x})) return log(widened(x));
  return record_unary("log", x, log_forward(x.array()), x.array(), &ElementwiseTable::log_dx);
}
Tensor sqrt(const Tensor& x) {
  if (has_narrow({x})) return sqrt(widened(x));
  const Array out = sqrt_forward(x.array());
  return record_unary("sqrt", x, out, out, &ElementwiseTable::sqrt_dx);
}
Tensor abs(const Tensor& x) {
  if (has_narrow({x})) return abs(widened(x));
  return record_unary("abs", x, abs_forward(x.array()), x.array(), &ElementwiseTable::abs_dx);
}
Tensor sin(const Tensor& x) {
  if (has_narrow({x})) return sin(widened(x));
  return record_unary("sin", x, sin_forward(x.array()), x.array(), &ElementwiseTable::sin_dx);
}
Tensor cos(const Tensor& x) {
  if (has_narrow({x})) return cos(widened(x));
  return record_unary("cos", x, cos_forward(x.array()), x.array(), &ElementwiseTable::cos_dx);
}
Tensor square(const Tensor& x) {
  if (has_narrow({x})) return square(widened(x));
  return record_unary("square", x, square_forward(x.array()), x.array(), &ElementwiseTable::square_dx);
}
Tensor tanh(const Tensor& x) {
  if (has_narrow({x})) return tanh(widened(x));
  const Array out = tanh_forward(x.array());
  return record_unary("tanh", x, out, out, &ElementwiseTable::tanh_dx);
}
Tensor sigmoid(const Tensor& x) {
  if (has_narrow({x})) return sigmoid(widened(x));
  const Array out = sigmoid_forward(x.array());
  return record_unary("sigmoid", x, out, out, &ElementwiseTable::sigmoid_dx);
}
Tensor relu(const Tensor& x) {
  if (has_narrow({x})) return relu(widened(x));
  const Array out = relu_forward(x.array());
  return record_unary("relu", x, out, out, &ElementwiseTable::relu_dx);
}
Tensor silu(const Tensor& x) {
  if (has_narrow({x})) return silu(widened(x));
  return record_unary("silu", x, silu_forward(x.array()), x.array(), &ElementwiseTable::silu_dx);
}

// ---- comparisons and logic --------------------------------------------------------------------------------------

static Tensor compare(const char* op, BinaryRow row, const Tensor& a, const Tensor& b) {
  if (has_narrow({a, b})) return compare(op, row, widened(a), widened(b));
  return no_gradient(binary(op, row, a.array(), b.array(), DType::boolean));
}

Tensor equal(const Tensor& a, const Tensor& b) { return compare("equal", &ElementwiseTable::equal, a, b); }
Tensor not_equal(const Tensor& a, const Tensor& b) { return compare("not_equal", &ElementwiseTable::not_equal, a, b); }
Tensor less(const Tensor& a, const Tensor& b) { return compare("less", &ElementwiseTable::less, a, b); }
Tensor less_equal(const Tensor& a, const Tensor& b) {
  return compare("less_equal", &ElementwiseTable::less_equal, a, b);
}
// a > b as b < a; errors name the operands as they were given.
static Tensor compare_swapped(const char* op, BinaryRow row, const Tensor& a, const Tensor& b) {
  if (has_narrow({a, b})) return compare_swapped(op, row, widened(a), widened(b));
  check_operands(op, a.array(), b.array());
  broadcast_shapes(op, a.shape(), b.shape());
  return compare(op, row, b, a);
}

Tensor greater(const Tensor& a, const Tensor& b) { return compare_swapped("greater", &ElementwiseTable::less, a, b); }
Tensor greater_equal(const Tensor& a, const Tensor& b) {
  return compare_swapped("greater_equal", &ElementwiseTable::less_equal, a, b);
}

Tensor logical_and(const Tensor& a, const Tensor& b) {
  return logic("logical_and", &ElementwiseTable::logical_and, a, b);
}
Tensor logical_or(const Tensor& a, const Tensor& b) { return logic("logical_or", &ElementwiseTable::logical_or, a, b); }
Tensor logical_not(const Tensor& x) {
  return no_gradient(unary("logical_not", &ElementwiseTable::logical_not, x.array()));
}

// ---- where ------------------------------------------------------------------------------------------------------

Array where_forward(const Array& cond, const Array& a, const Array& b) {
  if (cond.dtype() != DType::boolean) throw TypeError(cat("where: expected cond to be bool, got ", name(cond.dtype())));
  check_operands("where", a, b);
  check_device("where", "cond", cond, "a", a);
  const Shape shape = broadcast_shapes("where", cond.shape(), broadcast_shapes("where", a.shape(), b.shape()));
  Array out = a.like(shape);
  Select args;
  args.size = out.size();
  plan_operands(args.in, shape, {&cond, &a, &b});
  args.out = out.raw();
  run("where", &ElementwiseTable::where, a, args);
  return out;
}

// An operand that was not chosen gets 0, whatever dout holds there: it is selected, not multiplied by the mask.
Tensor where(const Tensor& cond, const Tensor& a, const Tensor& b) {
  if (has_narrow({a, b})) return where(cond, widened(a), widened(b));
  Array out = where_forward(cond.array(), a.array(), b.array());
  if (!needs_recording({a, b})) return Tensor(std::move(out));
  return record("where", {a, b}, std::move(out),
                [cond = save(cond), a = a.shape(), b = b.shape()](const Array& dout, const Needs& need) -> Gradients {
                  const Array zero = dout.zeros_like({});
                  return {need[0] ? sum_to(where_forward(cond(), dout, zero), a) : Array(),
                          need[1] ? sum_to(where_forward(cond(), zero, dout), b) : Array()};
                });
}

}  // namespace pyformer
