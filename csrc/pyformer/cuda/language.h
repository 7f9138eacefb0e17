// What kernels are written in: CUDA C++ under nvcc, and under any other C++ compiler the same words, emulated on the
// CPU.
//
// A kernel is a function of one plain structure, `__global__ void layer_norm(const LayerNorm a)`, in namespace
// pyformer::cuda, started by launch() (launch.h). It has no `asm`, no `<<<>>>` and no `__shared__`:
//   __shared__   one structure of shared memory: Shared& s = shared_memory<Shared>(), its size given to launch()
//   asm          the functions of ptx.h, one an instruction
// Of CUDA's own words there are: threadIdx, blockIdx, blockDim, gridDim; __syncthreads, __syncwarp; __shfl_sync, _up,
// _down, _xor; __ballot_sync, __any_sync, __all_sync; __float_as_uint, __uint_as_float; min, max; dim3; <cmath>. What
// hardware computes only nearly (rsqrtf, __expf) is not among them: results are to be the same bits everywhere.
//
// Memory is read and written through load and store where a warp's accesses are to be one vector instruction each and
// are to be counted (bytes, sectors, bank conflicts); plain p[i] works as well and is not counted.
//
// Unset variables and unset shared memory are no zeros under emulation; an index beyond shared memory is a fault.
#pragma once
#include <cmath>
#include <cstdint>

#include "pyformer/base/dtype.h"
#include "pyformer/cuda/conversions.h"

#if defined(__CUDACC__)
#define DEVICE __device__ __forceinline__
#else
#include <algorithm>
#include <bit>
#include <cstring>

#include "pyformer/cuda/emulated_count.h"
#define DEVICE inline
#endif

// The last parameters of what accesses memory: where it is called, which tells the emulator what lanes do together.
#if defined(__CUDACC__)
#define PF_PLACE
#else
#define PF_PLACE , const char *file = __builtin_FILE(), unsigned line = __builtin_LINE()
#endif

namespace pyformer::cuda {

// The block's shared memory as one structure, 1,024-byte aligned.
template <class S>
DEVICE S& shared_memory() {
#if defined(__CUDACC__)
  extern __shared__ __align__(1024) unsigned char bytes[];
  return *reinterpret_cast<S*>(bytes);
#else
  emulated::require(sizeof(S) <= emulated::block->shared_bytes, "the launch gave less shared memory than is used");
  return *reinterpret_cast<S*>(emulated::block->shared);
#endif
}

// ---- memory --------------------------------------------------------------------------------------------------------

// n values that are read or written at once; 2, 4, 8 or 16 bytes.
template <class T, int n>
struct alignas(sizeof(T) * n) Packed {
  T values[n];
  DEVICE T& operator[](int i) { return values[i]; }
  DEVICE const T& operator[](int i) const { return values[i]; }
};

// One load of n * sizeof(T) bytes, from global or shared memory. p is a multiple of that.
template <int n, class T>
DEVICE Packed<T, n> load(const T* p PF_PLACE) {
#if !defined(__CUDACC__)
  emulated::require(reinterpret_cast<uintptr_t>(p) % sizeof(Packed<T, n>) == 0, "load: the address is not aligned");
  emulated::count_access(p, sizeof(Packed<T, n>), {file, line});
#if defined(PF_COUNTED)
  Packed<T, n> values;
  emulated::copy_uncounted(&values, p, sizeof values);
  return values;
#endif
#endif
  return *reinterpret_cast<const Packed<T, n>*>(p);
}

// One store of n * sizeof(T) bytes.
template <class T, int n>
DEVICE void store(T* p, const Packed<T, n>& values PF_PLACE) {
#if !defined(__CUDACC__)
  emulated::require(reinterpret_cast<uintptr_t>(p) % sizeof(Packed<T, n>) == 0, "store: the address is not aligned");
  emulated::count_access(p, sizeof(Packed<T, n>), {file, line});
#endif
#if defined(PF_COUNTED)
  emulated::copy_uncounted(p, &values, sizeof values);
#else
  *reinterpret_cast<Packed<T, n>*>(p) = values;
#endif
}

}  // namespace pyformer::cuda

// ---- CUDA's own words ----------------------------------------------------------------------------------------------

#if !defined(__CUDACC__)
using std::max;
using std::min;

inline uint32_t __float_as_uint(float x) { return std::bit_cast<uint32_t>(x); }
inline float __uint_as_float(uint32_t x) { return std::bit_cast<float>(x); }

inline void __syncthreads() { pyformer::emulated::barrier(0, 0, true, "__syncthreads"); }
inline void __syncwarp(uint32_t mask = ~0u) { pyformer::emulated::warp_barrier(mask); }

namespace pyformer::emulated {

// What lane `source` of the mask's lanes has for `value`.
template <class T>
T shuffle(uint32_t mask, const char* op, T value, unsigned source) {
  struct Frame {
    T in, out;
    unsigned source;
  } frame{value, value, source};
  warp_collective(mask, op, frame, [](Frame* const* f) {
    ++counters.shuffles;
    for (unsigned lane = 0; lane < kWarp; ++lane) {
      if (!f[lane]) continue;
      require(f[f[lane]->source], "a shuffle reads from a lane that takes no part in it");
      f[lane]->out = f[f[lane]->source]->in;
    }
  });
  return frame.out;
}

// Which of the mask's lanes say yes.
inline uint32_t ballot(uint32_t mask, const char* op, bool yes) {
  struct Frame {
    bool yes;
    uint32_t lanes;
  } frame{yes, 0};
  warp_collective(mask, op, frame, [](Frame* const* f) {
    uint32_t lanes = 0;
    for (unsigned lane = 0; lane < kWarp; ++lane) lanes |= uint32_t(f[lane] && f[lane]->yes) << lane;
    for (unsigned lane = 0; lane < kWarp; ++lane)
      if (f[lane]) f[lane]->lanes = lanes;
  });
  return frame.lanes;
}

}  // namespace pyformer::emulated

// Lanes read from within their group of `width` lanes, or keep their value.
template <class T>
T __shfl_sync(uint32_t mask, T value, int source, int width = 32) {
  const unsigned lane = pyformer::emulated::self->lane, w = unsigned(width);
  return pyformer::emulated::shuffle(mask, "__shfl_sync", value, (lane & ~(w - 1)) | (unsigned(source) & (w - 1)));
}
template <class T>
T __shfl_up_sync(uint32_t mask, T value, unsigned delta, int width = 32) {
  const unsigned lane = pyformer::emulated::self->lane;
  const bool inside = lane % unsigned(width) >= delta;
  return pyformer::emulated::shuffle(mask, "__shfl_up_sync", value, inside ? lane - delta : lane);
}
template <class T>
T __shfl_down_sync(uint32_t mask, T value, unsigned delta, int width = 32) {
  const unsigned lane = pyformer::emulated::self->lane;
  const bool inside = lane % unsigned(width) + delta < unsigned(width);
  return pyformer::emulated::shuffle(mask, "__shfl_down_sync", value, inside ? lane + delta : lane);
}
template <class T>
T __shfl_xor_sync(uint32_t mask, T value, int lane_mask, int width = 32) {
  const unsigned lane = pyformer::emulated::self->lane, source = lane ^ unsigned(lane_mask);
  const bool inside = source <= (lane | unsigned(width - 1));
  return pyformer::emulated::shuffle(mask, "__shfl_xor_sync", value, inside ? source : lane);
}

inline uint32_t __ballot_sync(uint32_t mask, int yes) { return pyformer::emulated::ballot(mask, "__ballot_sync", yes); }
inline int __any_sync(uint32_t mask, int yes) { return pyformer::emulated::ballot(mask, "__any_sync", yes) != 0; }
inline int __all_sync(uint32_t mask, int yes) { return pyformer::emulated::ballot(mask, "__all_sync", !yes) == 0; }
#endif
