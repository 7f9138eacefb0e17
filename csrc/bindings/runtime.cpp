// The process: threads, memory, instruction sets, Ctrl-C.
#include "bindings.h"
#include "pyformer/base/allocator.h"
#include "pyformer/base/float_mode.h"
#include "pyformer/base/isa.h"
#include "pyformer/base/peak.h"
#include "pyformer/base/thread_pool.h"
#include "pyformer/ops/matmul/bfloat16_product.h"

namespace pyformer::bindings {

static unsigned long main_thread = 0;

// Runs Python's signal handlers and returns whether one raised. Only the main thread runs them; elsewhere false.
static bool signal_raised() {
  if (PyThread_get_thread_ident() != main_thread || !Py_IsInitialized()) return false;
  const TakeGil gil;
  return PyErr_CheckSignals() != 0;
}

static py::dict memory() {
  const MemoryStats s = memory_stats();
  py::dict d;
  d["live_bytes"] = s.live_bytes;
  d["live_blocks"] = s.live_blocks;
  d["peak_bytes"] = s.peak_bytes;
  d["cached_bytes"] = s.cached_bytes;
  d["system_calls"] = s.system_calls;
  d["live_arrays"] = live_storages();
  return d;
}

void bind_runtime(py::module_& core) {
  main_thread = py::module_::import("threading").attr("main_thread")().attr("ident").cast<unsigned long>();
  set_interrupt_callback(&signal_raised);
  core.def("set_num_threads", &set_num_threads, py::arg("count"),
           R"(Sets how many threads operations use. Results do not depend on it.

Args:
    count: from 1 to 1,024; at most as many as there are CPUs run at once. The environment's PYFORMER_NUM_THREADS, then
        OMP_NUM_THREADS, set the number at the start, else the CPUs that the process may use.

Raises:
    ValueError: count is out of range.

Example:
    >>> pf.set_num_threads(1)
    >>> pf.get_num_threads()
    1)");
  core.def("get_num_threads", &num_threads, R"(The number of threads that operations use.

Example:
    >>> pf.get_num_threads() >= 1
    True)");
  core.def(
      "empty_cache", &empty_cache, NoGil(),
      R"(Gives memory that no tensor holds back to the system; the allocator otherwise keeps it for the next tensors.

Example:
    >>> pf.empty_cache()
    >>> from pyformer import _core
    >>> _core.memory_stats()["cached_bytes"]
    0)");
  core.def("memory_stats", &memory, "Bytes and blocks held by tensors, the peak, and what is cached.");
  core.def("reset_peak_memory", &reset_peak_memory);
  core.def(
      "enter_default_float_mode",
      [] {
        const unsigned before = float_mode();
        if (before != kDefaultFloatMode) set_float_mode(kDefaultFloatMode);
        return before;
      },
      "Rounding to nearest, denormals kept, on this thread; returns the mode before, for set_float_mode.");
  core.def("set_float_mode", &set_float_mode, py::arg("mode"));
  core.def("set_guard_mode", &set_guard_mode, py::arg("on"),
           "For tests: fill new memory with NaN and put guard bands around it.");
  core.def("guard_violations", &guard_violations);
  core.def("isa", [] { return name(current_isa()); }, "The instruction set whose kernels run.");
  core.def(
      "bfloat16_isa", [] { return name(bfloat16_product_set(current_isa())); }, NoGil(),
      "The instruction set whose kernels multiply bfloat16.");
  core.def("set_isa", [](const std::string& isa) { set_isa(isa_from_name(isa)); }, py::arg("isa"));
  core.def("supported_isas", [] {
    std::vector<std::string> names;
    for (int i = 0; i < kIsaCount; ++i)
      if (is_supported(Isa(i))) names.push_back(name(Isa(i)));
    return names;
  });
  core.def(
      "fma_peak_gflops",
      [](const py::object& dtype, int threads) {
        const DType type = dtype_from(dtype);
        ReleaseGil release;
        return fma_peak_gflops(type, threads);
      },
      py::arg("dtype"), py::arg("threads"),
      "This machine's fused multiply-add peak in float32 or float64, GFLOP/s, measured now.");
  core.def("bfloat16_peak_gflops", &bfloat16_peak_gflops, py::arg("threads"), NoGil(),
           "This machine's rate of products of bfloat16 that lie in L1, GFLOP/s, measured now.");
  core.def("read_bandwidth_gbps", &read_bandwidth_gbps, py::arg("threads"), NoGil(),
           "This machine's memory read bandwidth, GB/s, measured now.");
  core.def("copy_bandwidth_gbps", &copy_bandwidth_gbps, py::arg("threads"), NoGil(),
           "This machine's bandwidth copying memory, GB/s read and written together, measured now.");
  core.def("round_trip_ns", &round_trip_ns, NoGil(),
           "Nanoseconds of a cache line's way to another CPU and back, measured now; 0 with one CPU.");
}

}  // namespace pyformer::bindings
