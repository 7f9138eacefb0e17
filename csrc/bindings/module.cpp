// The extension module pyformer._core: exceptions, then one bind_* call a file.
#include "bindings.h"

namespace pyformer::bindings {

PyObject* new_for_call(PyTypeObject* type, PyObject*, PyObject*) { return py::detail::make_new_instance(type); }

std::string shown(py::handle value) {
  constexpr size_t kLongest = 200;
  try {
    const py::object repr = py::module_::import("builtins").attr("repr");
    const std::string text = call_or_park(repr, py::make_tuple(value)).cast<std::string>();
    if (text.size() <= kLongest) return text;
  } catch (const py::error_already_set&) {  // its type must do
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

// ---- arguments that fit no signature ------------------------------------------------------------------------------

static void replace_all(std::string& text, const std::string& part, const std::string& by) {
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += by.size())
    text.replace(at, part.size(), by);
}

// Rewrites pybind11's TypeError, of many lines, as "op: expected (x: Tensor, axis: int = -1), got None".
static void explain_arguments() {
  if (!PyErr_ExceptionMatches(PyExc_TypeError)) return;
  py::error_already_set error;
  std::string text = py::str(error.value()).cast<std::string>();
  const std::string invoked = "\nInvoked with: ";
  const size_t first = text.find("    1. "), last = text.find(invoked);
  if (text.find("(): incompatible ") == std::string::npos || first >= last) return error.restore();
  std::string op = text.substr(0, text.find("(): ")), got = text.substr(last + invoked.size());
  got = got.substr(0, got.find("\n\nDid you forget"));
  replace_all(got, "\n", " ");
  if (got.size() > 200) {
    size_t end = 200;
    while ((got[end] & 0xC0) == 0x80) --end;  // within a character
    got = got.substr(0, end) + "...";
  }
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
  if (op == "__init__") {  // the signature then starts with the class
    op = expected.substr(0, expected.find('('));
    expected.erase(0, op.size());
  }
  PyErr_SetString(PyExc_TypeError, cat(op, ": expected ", expected, ", got ", got).c_str());
}

// Stands before pybind11's dispatcher, which has one of two calling conventions.
template <class... Arguments>
struct Explained {
  using Method = PyObject* (*)(PyObject*, Arguments...);
  static inline Method dispatcher = nullptr;
  static PyObject* call(PyObject* self, Arguments... arguments) {
    PyObject* result = dispatcher(self, arguments...);
    if (!result) explain_arguments();
    return result;
  }
  static void stand_before(PyMethodDef& method) {
    const auto found = reinterpret_cast<Method>(reinterpret_cast<void (*)()>(method.ml_meth));
    if (!dispatcher) dispatcher = found;
    if (found != dispatcher) return;  // done already under another name, or none of pybind11's
    method.ml_meth = reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&call));
  }
};

// For every function of a module or class.
static void explain_wrong_arguments(const py::object& scope) {
  for (const auto& [name, value] : py::dict(scope.attr("__dict__"))) {
    PyObject* function = PyInstanceMethod_Check(value.ptr()) ? PyInstanceMethod_GET_FUNCTION(value.ptr()) : value.ptr();
    if (!PyCFunction_Check(function)) continue;
    PyMethodDef& method = *reinterpret_cast<PyCFunctionObject*>(function)->m_ml;
    if (method.ml_flags == (METH_FASTCALL | METH_KEYWORDS))
      Explained<PyObject* const*, Py_ssize_t, PyObject*>::stand_before(method);
    else if (method.ml_flags == (METH_VARARGS | METH_KEYWORDS))
      Explained<PyObject*, PyObject*>::stand_before(method);
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
  py::module_ ops = core.def_submodule("ops", "Differentiable operations on tensors.");
  bind_attention(ops);
  bind_convolution(ops);
  bind_elementwise(ops);
  bind_matmul(core, ops);
  bind_normalization(ops);
  bind_reduce(ops);
  bind_sequence(ops);
  bind_shape(ops);
  bind_unary(ops);
  for (const py::object& scope : {py::object(core), py::object(ops), core.attr("Tensor").cast<py::object>(),
                                  core.attr("PackedLinear").cast<py::object>(), core.attr("device").cast<py::object>()})
    explain_wrong_arguments(scope);
}
