// The extension module pyformer._core: exceptions, then one bind_* call a file.
#include "bindings.h"

namespace pyformer::bindings {

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
  bind_runtime(core);
  bind_cache(core);
  bind_optim(core);
  py::module_ ops = core.def_submodule("ops", "Differentiable operations on tensors.");
  bind_attention(ops);
  bind_elementwise(ops);
  bind_matmul(core, ops);
  bind_normalization(ops);
  bind_reduce(ops);
  bind_shape(ops);
}
