// What this machine can do at best, measured in this process: the yardstick of benchmarks. Rates are those of the best
// instruction set that the CPU has, whatever set_isa says, on threads of their own, which start together.
#pragma once
#include <functional>

#include "pyformer/base/dtype.h"

namespace pyformer {

// 10^9 floating-point operations a second in independent FMA chains that stay in registers, an FMA counted as two;
// the best of several short runs. TypeError unless float32 or float64, ValueError unless 1 <= threads <= 1024.
double fma_peak_gflops(DType dtype, int threads);

// Rounds a second of all threads together, where work(thread, rounds) does so many on each of `threads` threads of
// their own; the best of several short runs. ValueError unless 1 <= threads <= 1024.
double rounds_per_second(int threads, const std::function<void(int thread, int64_t rounds)>& work);

// 10^9 bytes a second summing a 512 MiB buffer of the kind that Arrays live in; the best of several passes.
// ValueError unless 1 <= threads <= 1024, OutOfMemory if there is no room for the buffer.
double read_bandwidth_gbps(int threads);

// 10^9 bytes a second, read and written together, copying 256 MiB from one such buffer to another; errors as above.
double copy_bandwidth_gbps(int threads);

// Nanoseconds in which a cache line goes from one CPU to another and back, the median of several runs: some 60 where
// both share a cache, hundreds where they do not. 0 where this process has only one CPU.
double round_trip_ns();

}  // namespace pyformer
