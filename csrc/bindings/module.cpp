// The extension module pyformer._core: exceptions, then one bind_* call a file.
#include <cstdlib>
#include <cstring>

#include "bindings.h"
#include "callables.h"

namespace pyformer::bindings {

PyObject* new_for_call(PyTypeObject* type, PyObject*, PyObject*) { return py::detail::make_new_instance(type); }

std::string shown(py::handle value) {
  constexpr size_t kLongest = 200;
  try {
    const py::object repr = py::module_::import("builtins").attr("repr");
    const std::string text = call_or_park(repr, py::make_tuple(value)).cast<std::string>();
    if (text.size() <= kLongest) return text;
  } catch (const py::error_already_set&) {  // the type's name is shown instead
  }
  return cat("a value of type ", Py_TYPE(value.ptr())->tp_name);
}

static void translate_exceptions() {
  py::register_exception_translator([](std::exception_ptr pointer) {
    if (!pointer) return;
    try {
      std::rethrow_exception(pointer);
    } catch (const ValueError& e) {
      PyErr_SetString(PyExc_ValueError, e.what());
    } catch (const TypeError& e) {
      PyErr_SetString(PyExc_TypeError, e.what());
    } catch (const IndexError& e) {
      PyErr_SetString(PyExc_IndexError, e.what());
    } catch (const OutOfMemory& e) {
      PyErr_SetString(PyExc_MemoryError, e.what());
    } catch (const Interrupted&) {
      if (!PyErr_Occurred()) PyErr_SetNone(PyExc_KeyboardInterrupt);  // else: what the signal handler raised
    }
  });
}

// ---- torch's names of arguments -----------------------------------------------------------------------------------

// pyformer's name for an argument that torch calls by another one; null for any other name.
static const char* own_name(PyObject* name) {
  const auto is = [name](const char* text, Py_ssize_t length) {
    return PyUnicode_GET_LENGTH(name) == length && PyUnicode_CompareWithASCIIString(name, text) == 0;
  };
  if (is("dim", 3)) return "axis";
  if (is("keepdim", 7)) return "keepdims";
  if (is("gradient", 8)) return "grad";
  if (is("kernel_size", 11)) return "kernel";
  return nullptr;
}

// Replaces torch's names in a tuple of names; returns the same tuple where there are none.
static py::object own_names(PyObject* names) {
  const auto given = py::reinterpret_borrow<py::object>(names);
  const Py_ssize_t count = names ? PyTuple_GET_SIZE(names) : 0;
  Py_ssize_t first = 0;
  while (first < count && !own_name(PyTuple_GET_ITEM(names, first))) ++first;
  if (first == count) return given;
  py::tuple replaced{size_t(count)};
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* name = PyTuple_GET_ITEM(names, i);
    const char* own = own_name(name);
    replaced[size_t(i)] = own ? py::object(py::str(own)) : py::reinterpret_borrow<py::object>(name);
  }
  return replaced;
}

// ---- arguments that fit no signature ------------------------------------------------------------------------------

static void replace_all(std::string& text, const std::string& part, const std::string& by) {
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += by.size())
    text.replace(at, part.size(), by);
}

static std::string shortened(std::string text) {
  replace_all(text, "\n", " ");
  if (text.size() <= 200) return text;
  size_t end = 200;
  while ((text[end] & 0xC0) == 0x80) --end;  // within a character
  return text.substr(0, end) + "...";
}

// Describes an argument in a message: a Tensor or array by dtype and shape, never by its values.
static std::string described(py::handle value) {
  if (py::isinstance<Tensor>(value)) {
    const Tensor& tensor = value.cast<const Tensor&>();
    return cat("Tensor ", name(tensor.dtype()), " ", tensor.shape().str());
  }
  if (py::isinstance<py::array>(value))
    return cat("ndarray ", py::str(value.attr("dtype")).cast<std::string>(), " ",
               py::str(value.attr("shape")).cast<std::string>());
  const bool is_list = PyList_CheckExact(value.ptr());
  if (!is_list && !PyTuple_CheckExact(value.ptr())) return shortened(shown(value));
  std::string text = is_list ? "[" : "(";
  const Py_ssize_t count = PySequence_Fast_GET_SIZE(value.ptr());
  for (Py_ssize_t i = 0; i < count && i < 4; ++i) {
    PyObject* item = PySequence_Fast_GET_ITEM(value.ptr(), i);
    text += (i ? ", " : "") + (PyList_Check(item) ? "[...]" : PyFloat_Check(item) ? "float" : described(item));
  }
  return text + (count > 4 ? ", ..." : count == 1 && !is_list ? "," : "") + (is_list ? "]" : ")");
}

// Describes the arguments from number `first` on.
static std::string described(PyObject* const* arguments, Py_ssize_t count, PyObject* names, Py_ssize_t first) {
  std::string text;
  for (Py_ssize_t i = first; i < PyVectorcall_NARGS(size_t(count)); ++i)
    text += (i > first ? ", " : "") + described(arguments[i]);
  const Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0;
  for (Py_ssize_t i = 0; i < named; ++i)
    text += cat(text.empty() ? "" : ", ", PyUnicode_AsUTF8(PyTuple_GET_ITEM(names, i)), "=",
                described(arguments[PyVectorcall_NARGS(size_t(count)) + i]));
  return text.empty() ? "no argument" : text;
}

// A hint to add to the message: the nearest name for an argument that the signature lacks, pyformer.tensor() for an
// array where a Tensor is expected, maximum for max of two Tensors.
static std::string hint(const std::string& op, const std::string& expected, const std::string& got, PyObject* names,
                        bool has_gradient) {
  if ((op == "max" || op == "min") && got.find(", Tensor ") != got.npos)
    return cat("; ", op, "imum(x, y) takes two tensors, element by element");
  if (has_gradient && expected.find(": float") != expected.npos)
    return "; a number has no gradient: give the .item() of a tensor that requires one";
  for (Py_ssize_t i = 0; names && i < PyTuple_GET_SIZE(names); ++i) {
    const std::string given = PyUnicode_AsUTF8(PyTuple_GET_ITEM(names, i));
    for (Py_ssize_t j = 0; j < i; ++j)
      if (given == PyUnicode_AsUTF8(PyTuple_GET_ITEM(names, j))) return cat("; ", given, " is given twice");
    if (expected.find(" " + given + ":") != expected.npos || expected.find("(" + given + ":") != expected.npos)
      continue;
    py::list known;
    for (size_t at = 0; (at = expected.find(':', at)) != expected.npos; ++at) {
      const size_t begin = expected.find_last_of(" (", at) + 1;
      known.append(expected.substr(begin, at - begin));
    }
    if (expected.find(" axis:") != expected.npos) known.append("dim");  // torch's words, which are taken, too
    if (expected.find(" keepdims:") != expected.npos) known.append("keepdim");
    const py::object nearest = py::module_::import("difflib").attr("get_close_matches");
    const py::list near = call_or_park(nearest, py::make_tuple(given, known, 1, 0.5));
    if (py::len(near) > 0) return cat("; did you mean ", py::str(near[0]).cast<std::string>(), " for ", given, "?");
  }
  const bool has_array = got.find("ndarray ") != got.npos || (!got.empty() && got[0] == '[');
  return has_array && expected.find(": Tensor") != expected.npos ? "; pyformer.tensor(...) makes a Tensor" : "";
}

// Rewrites pybind11's TypeError, of many lines, as "op: expected (x: Tensor, axis: int = -1), got None".
static void explain_arguments(PyObject* const* arguments, Py_ssize_t count, PyObject* names) {
  if (!PyErr_ExceptionMatches(PyExc_TypeError)) return;
  py::error_already_set error;
  std::string text = py::str(error.value()).cast<std::string>();
  const size_t first = text.find("    1. "), last = text.find("\nInvoked with: ");
  if (text.find("(): incompatible ") == std::string::npos || first >= last) return error.restore();
  std::string op = text.substr(0, text.find("(): "));
  std::string expected;
  for (size_t line = first; line < last; line = text.find('\n', line) + 1) {
    std::string signature = text.substr(line, text.find('\n', line) - line);
    if (signature.find(". ") == std::string::npos) break;
    signature = signature.substr(signature.find(". ") + 2);
    expected += (expected.empty() ? "" : " or ") + signature.substr(0, signature.rfind(" -> "));
  }
  for (const char* prefix : {"pyformer._core.", "typing.", "collections.abc.", " | SupportsIndex"})
    replace_all(expected, prefix, "");
  replace_all(expected, "SupportsInt", "int");
  replace_all(expected, "SupportsFloat", "float");
  const bool is_constructor = op == "__init__";
  if (is_constructor) {  // its signature starts with the class, and its first argument is the empty object
    op = expected.substr(0, expected.find('('));
    expected.erase(0, op.size());
  }
  const std::string got = described(arguments, count, names, is_constructor ? 1 : 0);
  bool has_gradient = false;  // whether an argument is a single number that requires a gradient
  for (Py_ssize_t i = 0; i < PyVectorcall_NARGS(size_t(count)) + (names ? PyTuple_GET_SIZE(names) : 0); ++i)
    if (py::isinstance<Tensor>(arguments[i])) {
      const Tensor& tensor = py::handle(arguments[i]).cast<const Tensor&>();
      has_gradient |= tensor.requires_grad() && tensor.ndim() == 0;
    }
  PyErr_SetString(
      PyExc_TypeError,
      cat(op, ": expected ", expected, ", got ", got, hint(op, expected, got, names, has_gradient)).c_str());
}

// Called in place of pybind11's dispatcher, which it calls: renames torch's arguments before, and rewrites the error
// after, where the arguments fit no signature.
static _PyCFunctionFastWithKeywords dispatcher = nullptr;

static PyObject* call_explained(PyObject* self, PyObject* const* arguments, Py_ssize_t count, PyObject* names) {
  const py::object own = own_names(names);
  PyObject* result = dispatcher(self, arguments, count, own.ptr());
  if (!result) explain_arguments(arguments, count, own.ptr());
  return result;
}

// Turns "(x: Tensor, axis: int = -1)" into "(x, axis=-1)": Python's parser of text signatures accepts no types.
static std::string without_types(const std::string& signature) {
  std::string text;
  int depth = 0;
  bool is_type = false;
  for (size_t i = 0; i < signature.size(); ++i) {
    const char c = signature[i];
    depth += (c == '(' || c == '[') - (c == ')' || c == ']');
    if (depth == 1 && c == ':') is_type = true;
    const bool is_default = depth == 1 && signature.compare(i, 3, " = ") == 0;
    if (is_default || (depth == 1 && c == ',') || (depth == 0 && c == ')')) is_type = false;
    if (is_default) {
      text += '=';
      i += 2;
    } else if (!is_type) {
      text += c;
    }
  }
  return text;
}

// Turns the docstring "op(x: Tensor) -> Tensor\n\ntext" into "op(x)\n--\n\ntext", from which inspect.signature and help
// read a compiled function's signature. A function with several signatures shows its first.
static void publish_signature(PyMethodDef& method) {
  std::string doc = method.ml_doc ? method.ml_doc : "";
  const std::string op = method.ml_name, many = op + "(*args, **kwargs)\nOverloaded function.\n\n1. ";
  if (doc.rfind(many, 0) == 0) doc = doc.substr(many.size(), doc.find("\n\n2. ") - many.size());
  const size_t arrow = doc.find(") -> "), end = doc.find('\n');
  if (doc.rfind(op + "(", 0) != 0 || arrow == doc.npos || arrow > end) return;
  const std::string signature = without_types(doc.substr(0, doc.rfind(") -> ", end) + 1));
  const std::string text =
      cat(signature, "\n--\n\n", doc.substr(std::min(doc.find_first_not_of('\n', end), doc.size())));
  char* const published = strdup(text.c_str());
  if (!published) return;
  std::free(const_cast<char*>(method.ml_doc));
  method.ml_doc = published;  // pybind11 frees it when it frees the function
}

static void stand_before(PyMethodDef& method) {
  if (method.ml_flags != (METH_FASTCALL | METH_KEYWORDS)) return;
  const auto found = reinterpret_cast<_PyCFunctionFastWithKeywords>(reinterpret_cast<void (*)()>(method.ml_meth));
  if (!dispatcher) dispatcher = found;
  if (found != dispatcher) return;  // already replaced under another name, or not made by pybind11
  method.ml_meth = reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&call_explained));
  publish_signature(method);
}

// Puts call_explained before every function of a module or class, and gives those with public names their types.
static void publish_functions(const py::object& scope, const char* owner) {
  for (const auto& [name, value] : py::dict(scope.attr("__dict__")).attr("copy")().cast<py::dict>()) {
    const bool is_static = Py_IS_TYPE(value.ptr(), &PyStaticMethod_Type);
    const py::object held = is_static ? value.attr("__func__") : py::reinterpret_borrow<py::object>(value);
    PyObject* function = PyInstanceMethod_Check(held.ptr()) ? PyInstanceMethod_GET_FUNCTION(held.ptr()) : held.ptr();
    if (!PyCFunction_Check(function)) continue;
    stand_before(*reinterpret_cast<PyCFunctionObject*>(function)->m_ml);
    const auto text = name.cast<std::string>();
    if (text[0] == '_' && text != "__init__") continue;
    const py::object typed = with_types(function, owner);
    scope.attr(name) = is_static ? py::reinterpret_steal<py::object>(PyStaticMethod_New(typed.ptr())) : typed;
  }
}

}  // namespace pyformer::bindings

PYBIND11_MODULE(_core, core) {
  using namespace pyformer::bindings;
  core.doc() = "The compiled core of pyformer: arrays, gradients, operations.";
  core.attr("__version__") = PYFORMER_VERSION;
  translate_exceptions();
  bind_dtypes(core);
  bind_tensor(core);
  bind_creation(core);
  bind_random(core);
  bind_autograd(core);
  bind_device(core);
  bind_runtime(core);
  bind_cache(core);
  bind_optim(core);
  bind_files(core);
  bind_quantized(core);
  bind_replay(core);
  py::module_ ops = core.def_submodule("ops", "Differentiable operations on tensors.");
  bind_attention(core, ops);
  bind_convolution(ops);
  bind_elementwise(ops);
  bind_matmul(core, ops);
  bind_normalization(ops);
  bind_reduce(ops);
  bind_sequence(ops);
  bind_shape(ops);
  bind_unary(ops);
  publish_functions(core, "");
  publish_functions(ops, "ops");
  for (const char* name : {"Tensor", "DType", "PackedLinear", "QuantizedWeight", "device"})
    publish_functions(core.attr(name), name);
}
