// What an op's <op>_cuda.cu is written with: language.h, the scalar functions that the plain loops use too, and ways to
// start kernels on the calling thread's stream. For kernel files only.
//
//   struct AddElement {
//     using Args = AddGradients;
//     static DEVICE void at(const Args& a, int64_t i) { ... }
//   };
//   each_item<AddElement>     is a Kernel<AddGradients>, with a thread for each work item
#pragma once
#include "pyformer/base/element.h"
#include "pyformer/cuda/backend.h"
#include "pyformer/cuda/kernel_tables.h"
#include "pyformer/cuda/launch.h"

namespace pyformer::cuda {

constexpr int kThreads = 256;

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

DEVICE int64_t thread_index() { return int64_t(blockIdx.x) * blockDim.x + threadIdx.x; }

// Does nothing where there are no blocks. Along x there may be 2^31 - 1 of them.
template <class Args>
void start(void (*kernel)(Args), int64_t blocks, int threads, unsigned shared_bytes, const Args& args) {
  if (blocks > 0)
    launch(kernel, dim3(unsigned(blocks)), dim3(unsigned(threads)), shared_bytes,
           static_cast<cudaStream_t>(current_stream()), args);
}

template <class Args>
struct Counted {
  Args args;
  int64_t count;
};

// Registers for 1,024 threads of a multiprocessor, 64 each: for more threads the compiler spills some.
template <class Item>
__global__ void __launch_bounds__(kThreads, 1024 / kThreads) items(const Counted<typename Item::Args> a) {
  const int64_t i = thread_index();
  if (i < a.count) Item::at(a.args, i);
}

// Item::at(args, i) for each i < count, a thread each.
template <class Item>
void start_items(const typename Item::Args& args, int64_t count) {
  start(items<Item>, ceil_div(count, kThreads), kThreads, 0, Counted<typename Item::Args>{args, count});
}
template <class Item>
void each_item(const typename Item::Args& args, int64_t, int64_t count) {
  start_items<Item>(args, count);
}

// x / n and x % n of what is below 2^32. Without the call of a 64-bit division, around which registers are spilled.
struct Divided {
  int64_t quotient, rest;
};
DEVICE Divided divided_small(int64_t x, int64_t n) {
  const uint32_t quotient = uint32_t(x) / uint32_t(n);
  return {quotient, int64_t(uint32_t(x) - quotient * uint32_t(n))};
}

// Of any, in 32 bits where that is enough: 64 take ten times as long.
DEVICE Divided divided(int64_t x, int64_t n) {
  if ((uint64_t(x) | uint64_t(n)) >> 32) return {x / n, x % n};
  return divided_small(x, n);
}

}  // namespace pyformer::cuda
