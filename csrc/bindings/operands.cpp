#include "operands.h"

#include "pyformer/core/arithmetic/arithmetic.h"
#include "pyformer/core/precision.h"
#include "pyformer/ops/cast/cast.h"
#include "pyformer/ops/elementwise/elementwise.h"

namespace pyformer::bindings {

static Tensor scalar(uint64_t bits, DType dtype, Device device) {
  const Array array = Array::empty({}, dtype, device);
  fill_(array, bits);
  return Tensor(array);
}

static Tensor float_scalar(const char* op, double value, const Tensor& like) {
  const DType dtype = widened(like.dtype());
  if (is_float(dtype)) return scalar(bits_of(value, dtype), dtype, like.device());
  throw TypeError(cat(op, ": expected an integer to go with ", name(like.dtype()), ", got the float ", value));
}

static Tensor integer_scalar(const char* op, py::handle number, const Tensor& like) {
  const DType dtype = widened(like.dtype());
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
  if (is_float(dtype)) {
    if (!overflow) return scalar(bits_of(int64_t(value), dtype), dtype, like.device());
    const double nearest = PyLong_AsDouble(number.ptr());
    if (nearest == -1.0 && PyErr_Occurred()) {
      PyErr_Clear();
      throw ValueError(cat(op, ": ", shown(number), " does not fit in ", name(dtype)));
    }
    return float_scalar(op, dtype == DType::float64 ? nearest : rounded_to_odd(number), like);
  }
  if (dtype == DType::boolean) throw TypeError(cat(op, ": expected a bool to go with bool, got an integer"));
  const auto [least, beyond] = integer_range(dtype);
  const bool fits = !overflow && (dtype == DType::int64 || (double(value) >= least && double(value) < beyond));
  if (!fits) throw ValueError(cat(op, ": ", shown(number), " does not fit in ", name(dtype)));
  return scalar(bits_of(int64_t(value), dtype), dtype, like.device());
}

// ---- the common dtype of two operands -------------------------------------------------------------------------------

static bool is_numpy_scalar(py::handle object);

std::optional<DType> widened_by_number(const Tensor& tensor, py::handle other) {
  if (is_float(tensor.dtype())) return std::nullopt;
  const bool is_fraction =
      PyFloat_Check(other.ptr()) || (is_numpy_scalar(other) && py::dtype(other.attr("dtype")).kind() == 'f');
  if (is_fraction) return DType::float32;
  const bool is_whole = PyLong_Check(other.ptr()) && !PyBool_Check(other.ptr());
  return tensor.dtype() == DType::boolean && is_whole ? std::optional(DType::int64) : std::nullopt;
}

static int rank(DType dtype) { return dtype == DType::boolean ? 0 : int(item_bytes(dtype)); }

// The common dtype of two operands of different dtypes for which can_meet is true: the float one, else the wider one.
static DType meeting(DType a, DType b) {
  if (is_float(a) != is_float(b)) return is_float(a) ? a : b;
  return is_float(a) || rank(a) >= rank(b) ? a : b;
}

static bool can_meet(DType a, DType b) { return is_float(a) != is_float(b) || (!is_float(a) && rank(a) != rank(b)); }

std::pair<Tensor, Tensor> in_one_dtype(const char* op, const Tensor& a, const Tensor& b) {
  const ReleaseGil release;
  const bool is_quotient = std::string_view(op) == "divide";
  DType dtype = can_meet(a.dtype(), b.dtype()) ? meeting(a.dtype(), b.dtype()) : a.dtype();
  if (is_quotient && !is_float(a.dtype()) && !is_float(b.dtype()))
    dtype = DType::float32;
  else if (a.dtype() != b.dtype() && !can_meet(a.dtype(), b.dtype()))
    return {a, b};
  return {cast(a, dtype), cast(b, dtype)};
}

static TypeError foreign_operand(const char* op, py::handle other) {
  return TypeError(cat(op, ": expected a tensor or a number, got ", Py_TYPE(other.ptr())->tp_name));
}

static py::handle numpy_generic;

void find_numpy_scalars() { numpy_generic = py::object(py::module_::import("numpy").attr("generic")).release(); }

static bool is_numpy_scalar(py::handle object) { return py::isinstance(object, numpy_generic); }

// Takes a NumPy scalar as the Python number it stands for. Floats don't go by item(), which returns a longdouble for a
// longdouble; dates, for which it returns an integer, are refused.
static Tensor numpy_scalar(const char* op, py::handle scalar, const Tensor& like) {
  const char kind = py::dtype(scalar.attr("dtype")).kind();
  if (kind == 'f') return float_scalar(op, PyFloat_AsDouble(scalar.ptr()), like);
  if (kind != 'b' && kind != 'i' && kind != 'u') throw foreign_operand(op, scalar);
  return *binary_operand(op, py::object(scalar.attr("item")()), like);
}

std::optional<Tensor> binary_operand(const char* op, py::handle other, const Tensor& like) {
  if (py::detail::make_caster<Tensor> tensor; tensor.load(other, false))
    return py::detail::cast_op<const Tensor&>(tensor);
  if (PyFloat_Check(other.ptr())) return float_scalar(op, PyFloat_AS_DOUBLE(other.ptr()), like);
  if (PyBool_Check(other.ptr()) && like.dtype() == DType::boolean)
    return scalar(other.ptr() == Py_True, like.dtype(), like.device());
  if (PyLong_Check(other.ptr())) return integer_scalar(op, other, like);
  if (py::isinstance<py::array>(other)) return tensor_sharing(py::reinterpret_borrow<py::object>(other));
  if (is_numpy_scalar(other)) return numpy_scalar(op, other, like);
  return std::nullopt;
}

std::pair<Tensor, Tensor> binary_operands(const char* op, py::handle a, py::handle b) {
  const auto is_array = [](py::handle h) { return py::isinstance<Tensor>(h) || py::isinstance<py::array>(h); };
  if (!is_array(a) && !is_array(b)) throw TypeError(cat(op, ": expected at least one tensor"));
  const bool a_leads = is_array(a);
  Tensor lead = *binary_operand(op, a_leads ? a : b, Tensor());
  if (const auto dtype = widened_by_number(lead, a_leads ? b : a)) lead = cast(lead, *dtype);
  const std::optional<Tensor> other = binary_operand(op, a_leads ? b : a, lead);
  if (!other) throw foreign_operand(op, a_leads ? b : a);
  const auto [first, second] = a_leads ? std::pair(lead, *other) : std::pair(*other, lead);
  return differ(op, first, second) ? in_one_dtype(op, first, second) : std::pair(first, second);
}

Tensor call(BinaryFunction function, const Tensor& a, const Tensor& b) {
  constexpr int64_t kShort = 4096;  // elements; so few are computed before another thread could begin
  if (a.array().size() < kShort && b.array().size() < kShort && a.array().size() * b.array().size() < kShort)
    return function(a, b);
  ReleaseGil release;
  return function(a, b);
}

std::optional<Tensor> whole_power(const Tensor& x, py::handle exponent) {
  if (!PyLong_CheckExact(exponent.ptr()) || x.dtype() == DType::boolean) return std::nullopt;
  int overflow = 0;
  const int64_t power = PyLong_AsLongLongAndOverflow(exponent.ptr(), &overflow);
  if (!overflow && power == 2) {
    ReleaseGil release;
    return square(x);
  }
  if (is_float(x.dtype())) return std::nullopt;
  if (overflow || power < 0)
    throw ValueError(cat("power: expected an integer from 0 for ", name(x.dtype()), ", got ", shown(exponent)));
  ReleaseGil release;
  Tensor result(ones_like(x.array())), factor = x;
  for (int64_t rest = power; rest; rest >>= 1) {
    if (rest & 1) result = multiply(result, factor);
    if (rest > 1) factor = square(factor);
  }
  return result;
}

}  // namespace pyformer::bindings
