// Random tensors, the seed, and streams of random numbers.
#include "bindings.h"
#include "pyformer/core/random.h"
#include "pyformer/ops/random/random.h"

namespace pyformer::bindings {

template <Array (*draw)(const Shape&, DType, Device, RandomStream)>
static void bind_draw(py::module_& core, const char* name, const char* doc) {
  core.def(
      name,
      [name](const py::args& args, const py::object& dtype, const py::object& device, bool requires_grad) {
        const Device place = device_or_default(name_of_device(device));
        const Shape shape = shape_from(name, args);
        const DType type = dtype.is_none() ? DType::float32 : dtype_from(dtype);
        ReleaseGil release;
        return Tensor(draw(shape, type, place, draw_stream()), requires_grad);
      },
      py::kw_only(), py::arg("dtype") = py::none(), py::arg("device") = py::none(), py::arg("requires_grad") = false,
      doc);
}

// A stream as Python sees it: the tuple (seed, stream).
using StreamNumbers = std::pair<uint64_t, uint64_t>;

static py::tuple record_streams(const py::object& function, const py::args& args) {
  const StreamScope notes;
  const py::object result = call_or_park(function, args);
  std::vector<StreamNumbers> streams;
  for (const RandomStream& s : notes.streams()) streams.emplace_back(s.seed, s.stream);
  return py::make_tuple(result, streams);
}

static py::object replay_streams(const std::vector<StreamNumbers>& streams, const py::object& function,
                                 const py::args& args) {
  std::vector<RandomStream> again;
  for (const auto& [seed, stream] : streams) again.push_back({seed, stream});
  const StreamScope scope(std::move(again));
  py::object result = call_or_park(function, args);
  if (!scope.gave_all())
    throw std::runtime_error("random: a recomputation draws less often than the computation it repeats");
  return result;
}

static py::object micro_batch_streams(uint64_t seed, uint64_t step, uint64_t micro_batch, const py::object& function,
                                      const py::args& args) {
  const StreamScope scope(micro_batch_stream(seed, step, micro_batch));
  return call_or_park(function, args);
}

void bind_random(py::module_& core) {
  core.def(
      "manual_seed",
      [](const py::object& given) {
        refuse_lossy("manual_seed", given);
        // Any object with __index__, such as NumPy's integers.
        PyObject* index = PyBool_Check(given.ptr()) ? nullptr : PyNumber_Index(given.ptr());
        if (!index) {
          PyErr_Clear();
          throw TypeError(cat("manual_seed: expected an integer, got ", Py_TYPE(given.ptr())->tp_name));
        }
        const auto seed = py::reinterpret_steal<py::int_>(index);
        const uint64_t number = PyLong_AsUnsignedLongLong(seed.ptr());
        if (PyErr_Occurred()) {
          PyErr_Clear();
          throw ValueError(cat("manual_seed: expected a seed from 0 to 2**64 - 1, got ", shown(seed)));
        }
        manual_seed(number);
      },
      py::arg("seed"),
      R"(Seeds all random numbers of the library: the same seed gives the same numbers on any number of threads, on every CPU.

A process that was forked draws numbers of its own: neither its parent's nor those of another child, and the same
whenever as many processes were forked since this call, and as much was drawn. Seed in the child for numbers of your
choice.

Args:
    seed: an integer from 0 to 2**64 - 1, Python's or NumPy's.

Raises:
    ValueError: the seed is out of range.
    TypeError: it is no integer, or a bool.

Example:
    >>> pf.manual_seed(1)
    >>> first = pf.rand(3)
    >>> pf.manual_seed(1)
    >>> (pf.rand(3) == first).numpy().all().item()
    True)");
  core.def(
      "rng_state",
      [] {
        const RandomStream state = rng_state();
        return py::make_tuple(state.seed, state.stream);
      },
      "(seed, stream): the seed, and the number of the next stream.");
  core.def(
      "set_rng_state", [](uint64_t seed, uint64_t stream) { set_rng_state({seed, stream}); }, py::arg("seed"),
      py::arg("stream"), "Goes back to a state that rng_state() gave.");
  core.def("record_streams", &record_streams, py::arg("function"),
           "(function(*args), the streams of random numbers that it drew on this thread).");
  core.def("replay_streams", &replay_streams, py::arg("streams"), py::arg("function"),
           "function(*args), which draws the given streams; those of the process stay as they are.");
  core.def("micro_batch_streams", &micro_batch_streams, py::arg("seed"), py::arg("step"), py::arg("micro_batch"),
           py::arg("function"),
           "function(*args), which draws the streams of this micro-batch on this thread; those of the process stay.");
  bind_draw<&rand>(core, "rand", R"(Numbers drawn evenly from [0, 1).

Args:
    shape: extents, one by one or as a tuple.
    dtype: a float type, float32 by default.
    device: "cpu" by default.
    requires_grad: whether gradients are formed for it.

Returns:
    Tensor of that shape. A call draws one stream of random numbers; element i depends on seed, stream and i alone.

Raises:
    TypeError: dtype is another, or an extent is no integer.
    ValueError: an extent is negative, or the device is not there.

Example:
    >>> pf.manual_seed(0)
    >>> pf.rand(3)
    tensor([0.39904642, 0.88052016, 0.73571277], dtype=float32))");
  bind_draw<&randn>(core, "randn", R"(Numbers drawn from the normal distribution with mean 0 and variance 1.

Args:
    shape: extents, one by one or as a tuple.
    dtype: a float type, float32 by default.
    device: "cpu" by default.
    requires_grad: whether gradients are formed for it.

Returns:
    Tensor of that shape. A call draws one stream of random numbers; element i depends on seed, stream and i alone.

Raises:
    TypeError: dtype is another, or an extent is no integer.
    ValueError: an extent is negative, or the device is not there.

Example:
    >>> pf.manual_seed(0)
    >>> pf.randn(3)
    tensor([ 0.99113756, -0.9246626 , -0.61760896], dtype=float32))");
}

}  // namespace pyformer::bindings
