// Products of a warpgroup (128 threads that start at a multiple of 128), sm_90a: d (64 x n, float) = a (64 x 16)
// b (16 x n) [+ d], n = 8 .. 256 in steps of 8, of BFloat16 or Float16. They are asynchronous:
//
//   wgmma_fence();                       registers of d and a are as they should be; again after they were touched
//   wgmma<T>(d, a, b, adds); ...         without `adds`, d = a b
//   wgmma_commit();                      closes a group
//   wgmma_wait<pending>(d);              until at most the `pending` newest groups are under way; then d can be read
//
// Warp w of the warpgroup holds rows 16w + g and 16w + g + 8 of d: d[4i + h] is row 16w + g + 8 (h / 2), column
// 8i + 2t + h % 2, with g = lane / 4, t = lane % 4. What threads wrote to shared memory needs fence_proxy_async and a
// barrier before it is multiplied; what bulk copies brought needs neither.
//
// The emulator wants a wgmma_fence between a wgmma_wait and the next wgmma, whether or not registers were touched.
#pragma once
#include "pyformer/cuda/ptx_sm90.h"

#if defined(__CUDACC__)
#include "pyformer/cuda/wgmma_shapes.h"
#else
#include "pyformer/cuda/emulated_wgmma.h"
#endif

namespace pyformer::cuda {

// ---- matrices in shared memory -------------------------------------------------------------------------------------

// How a and b lie in shared memory. "row" is along m or n; a line is what the swizzle is of (128, 64 or 32 bytes; 16
// without one). Lines of eight make an atom, which starts at a multiple of its size.
//   k-major   a row's k are adjacent. An atom is eight rows by one line; `stride` is the distance between groups of
//   eight
//             rows. Unswizzled, an atom is eight rows by 8 k and `leading` the distance to the next 8 k. The next 16 k
//             of a swizzled line are at start + 32 bytes.
//   mn-major  a k's rows are adjacent. An atom is a line of rows by eight k; `leading` is the distance between groups
//   of as
//             many rows as a line has, `stride` between groups of eight k. Unswizzled the two change places.
enum class Major { k, mn };

// A descriptor of 16 k from `shared` on; distances in bytes, multiples of 16.
DEVICE uint64_t matrix_descriptor(const void* shared, uint32_t leading, uint32_t stride, Swizzle swizzle) {
  return uint64_t(shared_address(shared) >> 4 & 0x3fff) | uint64_t(leading >> 4 & 0x3fff) << 16 |
         uint64_t(stride >> 4 & 0x3fff) << 32 | uint64_t(swizzle) << 62;
}
// Rows of 64 k in lines of 128 bytes, all adjacent: what a bulk tensor copy with Swizzle::bytes_128 writes.
DEVICE uint64_t k_major_descriptor(const void* shared) {
  return matrix_descriptor(shared, 16, 1024, Swizzle::bytes_128);
}
// The same matrix, further on by a multiple of 16 bytes.
DEVICE uint64_t advanced(uint64_t descriptor, uint32_t bytes) { return descriptor + (bytes >> 4); }

// ---- the instructions ----------------------------------------------------------------------------------------------

DEVICE void wgmma_fence() {
#if defined(__CUDACC__)
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#else
  emulated::wgmma_fence();
#endif
}
DEVICE void wgmma_commit() {
#if defined(__CUDACC__)
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#else
  emulated::wgmma_commit();
#endif
}
// d is what the groups that end add to: it is named, so that the compiler reads none of it before.
template <int pending, int half>
DEVICE void wgmma_wait(float (&d)[half]) {
#if defined(__CUDACC__)
  constexpr int n = 2 * half;
#define PF_WGMMA(type, N, in_pending, ...) \
  asm volatile("wgmma.wait_group.sync.aligned " in_pending ";" : PF_D_OPERANDS##N : "n"(pending) : "memory")
  PF_WGMMA_SHAPES("")
#undef PF_WGMMA
#else
  (void)d;
  emulated::wgmma_wait(pending);
#endif
}

// a and b in shared memory.
template <class T, Major a_major = Major::k, Major b_major = Major::k, int half>
DEVICE void wgmma(float (&d)[half], uint64_t a, uint64_t b, bool adds) {
  constexpr int n = 2 * half;
  static_assert(n >= 8 && n <= 256 && n % 8 == 0);
#if defined(__CUDACC__)
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define PF_WGMMA(type, N, in_a, in_b, in_adds, in_a_major, in_b_major, ...)                 \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " in_adds                                  \
               ", 0;\n"                                                                     \
               "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." type "." type " {" PF_D##N \
               "}, " in_a ", " in_b ", p, 1, 1, " in_a_major ", " in_b_major ";\n}"         \
               : PF_D_OPERANDS##N                                                           \
               : "l"(a), "l"(b), "r"(int(adds)), "n"(int(a_major)), "n"(int(b_major)))
  if constexpr (std::is_same_v<T, BFloat16>) {
    PF_WGMMA_SHAPES("bf16")
  } else {
    PF_WGMMA_SHAPES("f16")
  }
#undef PF_WGMMA
#else
  __trap();
#endif
#else
  emulated::wgmma({n, std::is_same_v<T, Float16>, adds, a_major == Major::mn, b_major == Major::mn, d, nullptr, a, b});
#endif
}

// a in registers, as mma_m16n8k16 has it for the 16 rows of each warp.
template <class T, Major b_major = Major::k, int half>
DEVICE void wgmma(float (&d)[half], const uint32_t (&a)[4], uint64_t b, bool adds) {
  constexpr int n = 2 * half;
  static_assert(n >= 8 && n <= 256 && n % 8 == 0);
#if defined(__CUDACC__)
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define PF_WGMMA(type, N, a0, a1, a2, a3, in_b, in_adds, in_major)                          \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " in_adds                                  \
               ", 0;\n"                                                                     \
               "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." type "." type " {" PF_D##N \
               "}, {" a0 "," a1 "," a2 "," a3 "}, " in_b ", p, 1, 1, " in_major ";\n}"      \
               : PF_D_OPERANDS##N                                                           \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int(adds)), "n"(int(b_major)))
  if constexpr (std::is_same_v<T, BFloat16>) {
    PF_WGMMA_SHAPES("bf16")
  } else {
    PF_WGMMA_SHAPES("f16")
  }
#undef PF_WGMMA
#else
  __trap();
#endif
#else
  emulated::wgmma({n, std::is_same_v<T, Float16>, adds, false, b_major == Major::mn, d, a, 0, b});
#endif
}

}  // namespace pyformer::cuda
