// A compiled function with what a Python function has: it binds as a method, and knows its types.
//
// typing.get_type_hints refuses the type of method that pybind11 makes, and finds nothing on its functions. The types
// are read from the stub files when somebody asks for them.
#include <structmember.h>

#include "callables.h"

namespace pyformer::bindings {

struct Callable {
  PyObject_HEAD vectorcallfunc call;
  PyObject* compiled;
  PyObject* owner;  // a str: "Tensor", another class, "ops" or "" for the core itself
};

static Callable* of(PyObject* self) { return reinterpret_cast<Callable*>(self); }

static PyObject* forward_call(PyObject* self, PyObject* const* arguments, size_t count, PyObject* names) {
  return PyObject_Vectorcall(of(self)->compiled, arguments, count, names);
}

static PyObject* bind(PyObject* self, PyObject* instance, PyObject*) {
  return instance ? PyMethod_New(self, instance) : Py_NewRef(self);
}

static PyObject* attribute(PyObject* self, PyObject* name) {
  PyObject* own = PyObject_GenericGetAttr(self, name);
  if (own || !PyErr_ExceptionMatches(PyExc_AttributeError)) return own;
  PyErr_Clear();
  return PyObject_GetAttr(of(self)->compiled, name);
}

static PyObject* shown_as_compiled(PyObject* self) { return PyObject_Repr(of(self)->compiled); }

static void release(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  Py_XDECREF(of(self)->compiled);
  Py_XDECREF(of(self)->owner);
  type->tp_free(self);
  Py_DECREF(type);
}

static PyObject* doc(PyObject* self, void*) { return PyObject_GetAttrString(of(self)->compiled, "__doc__"); }

static bool is_operation(PyObject* self) { return PyUnicode_CompareWithASCIIString(of(self)->owner, "ops") == 0; }

static PyObject* module_name(PyObject* self, void*) {
  return PyUnicode_FromString(is_operation(self) ? "pyformer._core.ops" : "pyformer._core");
}

static PyObject* annotations(PyObject* self, void*) try {
  const py::object types = py::module_::import("pyformer.stub_types").attr("of");
  return types(py::handle(of(self)->owner), py::handle(self).attr("__name__")).release().ptr();
} catch (py::error_already_set& error) {
  error.restore();
  return nullptr;
}

// Copies and pickles are by name, as a Python function's are: "relu", "Tensor.mean".
static PyObject* reduce(PyObject* self, PyObject*) {
  PyObject* name = PyObject_GetAttrString(of(self)->compiled, "__name__");
  if (!name || is_operation(self) || PyUnicode_GET_LENGTH(of(self)->owner) == 0) return name;
  PyObject* path = PyUnicode_FromFormat("%U.%U", of(self)->owner, name);
  Py_DECREF(name);
  return path;
}

static PyTypeObject* callable_type() {
  static PyMemberDef members[] = {{"__vectorcalloffset__", T_PYSSIZET, offsetof(Callable, call), READONLY, nullptr},
                                  {}};
  static PyGetSetDef properties[] = {{"__doc__", doc, nullptr, nullptr, nullptr},
                                     {"__module__", module_name, nullptr, nullptr, nullptr},
                                     {"__annotations__", annotations, nullptr, nullptr, nullptr},
                                     {}};
  static PyMethodDef methods[] = {{"__reduce__", reduce, METH_NOARGS, nullptr}, {}};
  static PyType_Slot slots[] = {{Py_tp_call, reinterpret_cast<void*>(&PyVectorcall_Call)},
                                {Py_tp_descr_get, reinterpret_cast<void*>(&bind)},
                                {Py_tp_getattro, reinterpret_cast<void*>(&attribute)},
                                {Py_tp_repr, reinterpret_cast<void*>(&shown_as_compiled)},
                                {Py_tp_dealloc, reinterpret_cast<void*>(&release)},
                                {Py_tp_members, members},
                                {Py_tp_getset, properties},
                                {Py_tp_methods, methods},
                                {0, nullptr}};
  static PyType_Spec spec = {"pyformer._core.compiled_function", sizeof(Callable), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR |
                                 Py_TPFLAGS_DISALLOW_INSTANTIATION,
                             slots};
  static PyObject* const type = PyType_FromSpec(&spec);
  if (!type) throw py::error_already_set();
  return reinterpret_cast<PyTypeObject*>(type);
}

py::object with_types(py::handle compiled, const char* owner) {
  PyTypeObject* type = callable_type();
  PyObject* self = type->tp_alloc(type, 0);
  if (!self) throw py::error_already_set();
  of(self)->call = &forward_call;
  of(self)->compiled = compiled.inc_ref().ptr();
  of(self)->owner = py::str(owner).release().ptr();
  return py::reinterpret_steal<py::object>(self);
}

}  // namespace pyformer::bindings
