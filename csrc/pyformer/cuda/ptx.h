// PTX instructions of sm_80 and later, one function each, with its two meanings side by side: the instruction, and what
// it does. sm_90's own are in ptx_sm90.h and wgmma.h. g = lane / 4 and t = lane % 4 below.
#pragma once
#include <type_traits>

#include "pyformer/cuda/language.h"
#if defined(PF_CUDA)
#include "pyformer/base/element.h"
#endif

#if !defined(__CUDACC__)
#include "pyformer/cuda/emulated_memory.h"
#include "pyformer/cuda/tensor_core.h"
#endif

namespace pyformer::cuda {

// An address within the block's shared memory, as instructions take it.
DEVICE uint32_t shared_address(const void* shared) {
#if defined(__CUDACC__)
  return uint32_t(__cvta_generic_to_shared(shared));
#else
  return emulated::shared_address(shared);
#endif
}

// ---- conversions ---------------------------------------------------------------------------------------------------

#if !defined(PF_CUDA)  // base/element.h has these for the kernels of ops
DEVICE float widened(float x) { return x; }
DEVICE float widened(BFloat16 x) { return __uint_as_float(uint32_t(x.bits) << 16); }
DEVICE float widened(Float16 x) {
#if defined(__CUDACC__)
  float wide;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x.bits));
  return wide;
#else
  return to_float(x);
#endif
}
#endif

// Two values in one register, the first in its low half. They are rounded to nearest, ties to even; NaN gives 0x7fff.
template <class T>
DEVICE uint32_t packed(float low, float high) {
  static_assert(std::is_same_v<T, BFloat16> || std::is_same_v<T, Float16>);
#if defined(__CUDACC__)
  uint32_t pair;
  if constexpr (std::is_same_v<T, BFloat16>)
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  else
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#else
  const auto half = [](float x) -> uint32_t {
    if (x != x) return 0x7fff;
    if constexpr (std::is_same_v<T, BFloat16>)
      return to_bfloat16(x).bits;
    else
      return to_float16(x).bits;
  };
  return half(low) | half(high) << 16;
#endif
}

#if !defined(PF_CUDA)
template <class T>
DEVICE T rounded(float x) {
  if constexpr (std::is_same_v<T, float>)
    return x;
  else
    return T{uint16_t(packed<T>(x, 0))};
}
#endif

// ---- barriers ------------------------------------------------------------------------------------------------------

// Barrier `id` (1 to 15; __syncthreads has 0) for `threads` threads, a multiple of 32. All see what all wrote before.
DEVICE void bar_sync(int id, int threads) {
#if defined(__CUDACC__)
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
#else
  emulated::barrier(unsigned(id), unsigned(threads), true, "bar.sync");
#endif
}
// Counts among those threads, and does not wait.
DEVICE void bar_arrive(int id, int threads) {
#if defined(__CUDACC__)
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
#else
  emulated::barrier(unsigned(id), unsigned(threads), false, "bar.arrive");
#endif
}

// ---- asynchronous copies -------------------------------------------------------------------------------------------

// Copies 16 bytes from global to shared memory, past L1. Of these the first `valid` are read and the rest are zeros.
// Done when this thread has waited for the copy's group; other threads see it after a barrier behind that.
DEVICE void cp_async(void* shared, const void* global, int valid = 16 PF_PLACE) {
#if defined(__CUDACC__)
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global), "r"(valid)
               : "memory");
#else
  emulated::copy_async(shared, global, 16, unsigned(valid), {file, line});
#endif
}
// The same for 4 or 8 bytes, through L1.
template <int bytes>
DEVICE void cp_async_small(void* shared, const void* global, int valid = bytes PF_PLACE) {
  static_assert(bytes == 4 || bytes == 8);
#if defined(__CUDACC__)
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared_address(shared)), "l"(global), "n"(bytes),
               "r"(valid)
               : "memory");
#else
  emulated::copy_async(shared, global, bytes, unsigned(valid), {file, line});
#endif
}
// Closes this thread's group of copies; an empty one counts.
DEVICE void cp_async_commit() {
#if defined(__CUDACC__)
  asm volatile("cp.async.commit_group;" ::: "memory");
#else
  emulated::self->copies.commit();
#endif
}
// Until at most the `pending` newest groups of this thread are under way.
template <int pending>
DEVICE void cp_async_wait() {
#if defined(__CUDACC__)
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
#else
  emulated::self->copies.wait(pending);
#endif
}

// ---- 8x8 matrices of 16-bit elements -------------------------------------------------------------------------------

// `count` (1, 2 or 4) matrices from shared memory. Lanes 8i .. 8i + 7 give the rows of matrix i, each 16 bytes; the
// other lanes' addresses must be of shared memory too. Of matrix i a lane gets, in d[i], elements (g, 2t) and (g, 2t +
// 1), the first in the low half; transposed, (2t, g) and (2t + 1, g).
template <bool transposed, int count>
DEVICE void ldmatrix(uint32_t (&d)[count], const void* row) {
  static_assert(count == 1 || count == 2 || count == 4);
#if defined(__CUDACC__)
  const uint32_t at = shared_address(row);
#define PF_LDMATRIX(x, trans, registers, ...) \
  asm volatile("ldmatrix.sync.aligned.m8n8." x trans ".shared.b16 " registers ";" : __VA_ARGS__ : "r"(at) : "memory")
#define PF_LDMATRIX_COUNTS(trans)                                       \
  if constexpr (count == 1)                                             \
    PF_LDMATRIX("x1", trans, "{%0}, [%1]", "=r"(d[0]));                 \
  else if constexpr (count == 2)                                        \
    PF_LDMATRIX("x2", trans, "{%0, %1}, [%2]", "=r"(d[0]), "=r"(d[1])); \
  else                                                                  \
    PF_LDMATRIX("x4", trans, "{%0, %1, %2, %3}, [%4]", "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3]))
  if constexpr (transposed) {
    PF_LDMATRIX_COUNTS(".trans");
  } else {
    PF_LDMATRIX_COUNTS("");
  }
#undef PF_LDMATRIX_COUNTS
#undef PF_LDMATRIX
#else
  struct Frame {
    const uint16_t* row;
    uint32_t* d;
  } frame{static_cast<const uint16_t*>(row), d};
  emulated::give_row("ldmatrix", row, emulated::self->lane < 8 * count, false);
  emulated::warp_collective("ldmatrix", frame, [](Frame* const* f) {
    for (int i = 0; i < count; ++i) {
      emulated::count_matrix([&](int r) { return f[8 * i + r]->row; });
      for (int lane = 0; lane < 32; ++lane) {
        const int g = lane / 4, t = lane % 4;
        const auto at = [&](int r, int c) -> uint32_t {
          return transposed ? f[8 * i + c]->row[r] : f[8 * i + r]->row[c];
        };
        f[lane]->d[i] = at(g, 2 * t) | at(g, 2 * t + 1) << 16;
      }
    }
    ++emulated::counters.ldmatrix;
  });
#endif
}

// ---- tensor cores --------------------------------------------------------------------------------------------------

// d += a b, a 16x16, b 16x8, d 16x8 of float; T is BFloat16 or Float16, two to a register, the lower k in the low half.
//   a[0] (g, 2t..)  a[1] (g + 8, 2t..)  a[2] (g, 2t + 8..)  a[3] (g + 8, 2t + 8..)
//   b[0] (2t.., g)  b[1] (2t + 8.., g)
//   d[0] (g, 2t)  d[1] (g, 2t + 1)  d[2] (g + 8, 2t)  d[3] (g + 8, 2t + 1)
template <class T>
DEVICE void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  static_assert(std::is_same_v<T, BFloat16> || std::is_same_v<T, Float16>);
#if defined(__CUDACC__)
#define PF_MMA(type)                                                                  \
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." type "." type                 \
               ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                       \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
  if constexpr (std::is_same_v<T, BFloat16>)
    PF_MMA("bf16");
  else
    PF_MMA("f16");
#undef PF_MMA
#else
  struct Frame {
    float* d;
    const uint32_t *a, *b;
  } frame{d, a, b};
  emulated::warp_collective("mma.m16n8k16", frame, [](Frame* const* f) {
    emulated::Factors rows[16], columns[8];
    for (int lane = 0; lane < 32; ++lane) {
      const int g = lane / 4, t = lane % 4;
      for (int i = 0; i < 4; ++i)
        for (int h = 0; h < 2; ++h)
          rows[g + i % 2 * 8].set(2 * t + i / 2 * 8 + h, T{uint16_t(f[lane]->a[i] >> 16 * h)});
      for (int i = 0; i < 2; ++i)
        for (int h = 0; h < 2; ++h) columns[g].set(2 * t + 8 * i + h, T{uint16_t(f[lane]->b[i] >> 16 * h)});
    }
    for (int lane = 0; lane < 32; ++lane)
      for (int i = 0; i < 4; ++i) {
        const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        f[lane]->d[i] = emulated::tensor_core_dot(rows[row], columns[column], 16, f[lane]->d[i]);
      }
    ++emulated::counters.mma;
    emulated::counters.operations += 2 * 16 * 8 * 16;
  });
#endif
}

// d += a b, a 16x8, b 8x8 of tf32 (floats whose 13 lowest bits are ignored), d 16x8 of float, as above.
//   a[0] (g, t)  a[1] (g + 8, t)  a[2] (g, t + 4)  a[3] (g + 8, t + 4);  b[0] (t, g)  b[1] (t + 4, g)
DEVICE void mma_m16n8k8_tf32(float (&d)[4], const float (&a)[4], const float (&b)[2]) {
#if defined(__CUDACC__)
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])), "r"(__float_as_uint(a[3])),
        "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
#else
  struct Frame {
    float* d;
    const float *a, *b;
  } frame{d, a, b};
  emulated::warp_collective("mma.m16n8k8.tf32", frame, [](Frame* const* f) {
    emulated::Factors rows[16], columns[8];
    for (int lane = 0; lane < 32; ++lane) {
      const int g = lane / 4, t = lane % 4;
      for (int i = 0; i < 4; ++i) rows[g + i % 2 * 8].set_tf32(t + i / 2 * 4, f[lane]->a[i]);
      for (int i = 0; i < 2; ++i) columns[g].set_tf32(t + 4 * i, f[lane]->b[i]);
    }
    for (int lane = 0; lane < 32; ++lane)
      for (int i = 0; i < 4; ++i) {
        const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        f[lane]->d[i] = emulated::tensor_core_dot(rows[row], columns[column], 8, f[lane]->d[i]);
      }
    ++emulated::counters.mma;
    emulated::counters.operations += 2 * 16 * 8 * 8;
  });
#endif
}

}  // namespace pyformer::cuda
