// PTX instructions of sm_90: mbarriers, bulk copies (TMA), fences, registers. wgmma.h has the products.
#pragma once
#include "pyformer/cuda/ptx.h"
#include "pyformer/cuda/tensor_map.h"

#if !defined(__CUDACC__)
#include "pyformer/cuda/emulated_bulk.h"
#include "pyformer/cuda/emulated_mbarrier.h"
#endif

// Whether what is being compiled is for sm_90a. A kernel with its instructions is empty for other targets of the same
// build, and not started there.
#if !defined(__CUDACC__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define PF_CODE_FOR_SM90 1
#else
#define PF_CODE_FOR_SM90 0
#endif

namespace pyformer::cuda {

// ---- mbarriers -----------------------------------------------------------------------------------------------------

// A phase is complete when all arrivals and all expected bytes are there; then the next begins, and its parity flips.
// The first phase has parity 0. A ring's consumer waits for full[slot] with parity turn & 1, its producer for
// empty[slot] with (turn & 1) ^ 1, which a fresh mbarrier passes at once.

struct alignas(8) Mbarrier {
  uint64_t state;
};

// One thread initialises, then does fence_mbarrier_init; the block's barrier after that makes it known to all.
DEVICE void mbarrier_init(Mbarrier* bar, uint32_t arrivals) {
#if defined(__CUDACC__)
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(bar)), "r"(arrivals) : "memory");
#else
  emulated::mbarrier_init(&bar->state, arrivals);
#endif
}
DEVICE void fence_mbarrier_init() {
#if defined(__CUDACC__)
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#else
  emulated::fence_mbarrier_init();
#endif
}
// Arrives. Threads that wait for the phase see all that this thread wrote before.
DEVICE void mbarrier_arrive(Mbarrier* bar) {
#if defined(__CUDACC__)
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(bar)) : "memory");
#else
  emulated::mbarrier_arrive(&bar->state);
#endif
}
// Arrives, and lets the phase complete only when `bytes` more bytes have been copied.
DEVICE void mbarrier_arrive_expect(Mbarrier* bar, uint32_t bytes) {
#if defined(__CUDACC__)
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(bar)), "r"(bytes)
               : "memory");
#else
  emulated::mbarrier_expect(&bar->state, bytes);
  emulated::mbarrier_arrive(&bar->state);
#endif
}
// Waits until the phase of that parity is complete.
DEVICE void mbarrier_wait(Mbarrier* bar, uint32_t parity) {
#if defined(__CUDACC__)
  uint32_t done;
  do {
    asm volatile(
        "{\n.reg .pred p;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
        "selp.b32 %0, 1, 0, p;\n}"
        : "=r"(done)
        : "r"(shared_address(bar)), "r"(parity)
        : "memory");
  } while (!done);
#else
  emulated::mbarrier_wait(&bar->state, parity);
#endif
}

// ---- bulk copies, by one thread ------------------------------------------------------------------------------------

// Copies a box of a tensor to shared memory (128-byte aligned; a multiple of 1,024 where lines are swizzled). The box's
// first element is at the coordinates `at`, innermost first. The mbarrier counts all bytes of the box, also those
// outside of the tensor.
template <class... At>
DEVICE void load_box(void* shared, const TensorMap* map, Mbarrier* bar, At... at) {
  constexpr int rank = sizeof...(At);
  static_assert(rank >= 2 && rank <= 4);
  const int c[] = {at...};
#if defined(__CUDACC__)
#define PF_LOAD(dims, coordinates, ...)                                                             \
  asm volatile("cp.async.bulk.tensor." dims                                                         \
               ".shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {" coordinates \
               "}], [%2];" ::"r"(shared_address(shared)),                                           \
               "l"(map), "r"(shared_address(bar)), __VA_ARGS__                                      \
               : "memory")
  if constexpr (rank == 2)
    PF_LOAD("2d", "%3, %4", "r"(c[0]), "r"(c[1]));
  else if constexpr (rank == 3)
    PF_LOAD("3d", "%3, %4, %5", "r"(c[0]), "r"(c[1]), "r"(c[2]));
  else
    PF_LOAD("4d", "%3, %4, %5, %6", "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]));
#undef PF_LOAD
#else
  emulated::load_box(shared, *map, c, rank, &bar->state);
#endif
}

// Copies a box from shared memory; what lies outside of the tensor is not written. The copy belongs to the thread's
// open group. Before it each thread that wrote to the box does fence_proxy_async, then all meet at a barrier.
template <class... At>
DEVICE void store_box(const TensorMap* map, const void* shared, At... at) {
  constexpr int rank = sizeof...(At);
  static_assert(rank >= 2 && rank <= 4);
  const int c[] = {at...};
#if defined(__CUDACC__)
#define PF_STORE(dims, coordinates, ...)                                                             \
  asm volatile("cp.async.bulk.tensor." dims ".global.shared::cta.tile.bulk_group [%0, {" coordinates \
               "}], [%1];" ::"l"(map),                                                               \
               "r"(shared_address(shared)), __VA_ARGS__                                              \
               : "memory")
  if constexpr (rank == 2)
    PF_STORE("2d", "%2, %3", "r"(c[0]), "r"(c[1]));
  else if constexpr (rank == 3)
    PF_STORE("3d", "%2, %3, %4", "r"(c[0]), "r"(c[1]), "r"(c[2]));
  else
    PF_STORE("4d", "%2, %3, %4, %5", "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]));
#undef PF_STORE
#else
  emulated::store_box(*map, c, rank, shared);
#endif
}

// Copies adjacent bytes; both addresses and the size are multiples of 16.
DEVICE void load_bulk(void* shared, const void* global, uint32_t bytes, Mbarrier* bar) {
#if defined(__CUDACC__)
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   shared_address(shared)),
               "l"(global), "r"(bytes), "r"(shared_address(bar))
               : "memory");
#else
  emulated::load_bulk(shared, global, bytes, &bar->state);
#endif
}
DEVICE void store_bulk(void* global, const void* shared, uint32_t bytes) {
#if defined(__CUDACC__)
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(global), "r"(shared_address(shared)),
               "r"(bytes)
               : "memory");
#else
  emulated::store_bulk(global, shared, bytes);
#endif
}

// Closes this thread's group of bulk stores.
DEVICE void bulk_commit() {
#if defined(__CUDACC__)
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
#else
  emulated::self->stores.commit();
#endif
}
// Waits until at most the `pending` newest groups of this thread still read shared memory. A thread must wait for all
// its groups, bulk_wait_read<0>(), before it ends.
template <int pending>
DEVICE void bulk_wait_read() {
#if defined(__CUDACC__)
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(pending) : "memory");
#else
  emulated::self->stores.wait(pending);
#endif
}
// Waits until all groups but the `pending` newest of this thread are also written to global memory.
template <int pending>
DEVICE void bulk_wait() {
#if defined(__CUDACC__)
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(pending) : "memory");
#else
  emulated::self->stores.wait(pending);
#endif
}

// Fetches a tensor map into the cache before it is used.
DEVICE void prefetch(const TensorMap* map) {
#if defined(__CUDACC__)
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
#else
  (void)map;
#endif
}

// ---- fences, registers ---------------------------------------------------------------------------------------------

// Later wgmma and bulk stores see what this thread wrote to shared memory.
DEVICE void fence_proxy_async() {
#if defined(__CUDACC__)
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#else
  emulated::fence_proxy_async();
#endif
}

// Lowers or raises the number of registers that each thread of the warpgroup has: 24 to 256 in steps of 8. All warps of
// the warpgroup call it. The kernel needs __launch_bounds__(threads, 1).
template <int registers>
DEVICE void setmaxnreg_decrease() {
  static_assert(registers >= 24 && registers <= 256 && registers % 8 == 0);
#if defined(__CUDACC__)
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers));
#endif
#else
  char frame = 0;
  emulated::warp_collective("setmaxnreg.dec", frame, [](char* const*) {});
#endif
}
template <int registers>
DEVICE void setmaxnreg_increase() {
  static_assert(registers >= 24 && registers <= 256 && registers % 8 == 0);
#if defined(__CUDACC__)
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers));
#endif
#else
  char frame = 0;
  emulated::warp_collective("setmaxnreg.inc", frame, [](char* const*) {});
#endif
}

// stmatrix: the inverse of ldmatrix. Lanes 8i .. 8i + 7 give the addresses of the rows of matrix i, to which lanes
// write elements (g, 2t) and (g, 2t + 1) from d[i]; transposed, (2t, g) and (2t + 1, g).
template <bool transposed, int count>
DEVICE void stmatrix(void* row, const uint32_t (&d)[count]) {
  static_assert(count == 1 || count == 2 || count == 4);
#if defined(__CUDACC__)
  const uint32_t at = shared_address(row);
#define PF_STMATRIX(x, trans, registers, ...)                                                                  \
  asm volatile("stmatrix.sync.aligned.m8n8." x trans ".shared.b16 [%0], " registers ";" ::"r"(at), __VA_ARGS__ \
               : "memory")
#define PF_STMATRIX_COUNTS(trans)                               \
  if constexpr (count == 1)                                     \
    PF_STMATRIX("x1", trans, "{%1}", "r"(d[0]));                \
  else if constexpr (count == 2)                                \
    PF_STMATRIX("x2", trans, "{%1, %2}", "r"(d[0]), "r"(d[1])); \
  else                                                          \
    PF_STMATRIX("x4", trans, "{%1, %2, %3, %4}", "r"(d[0]), "r"(d[1]), "r"(d[2]), "r"(d[3]))
  if constexpr (transposed) {
    PF_STMATRIX_COUNTS(".trans");
  } else {
    PF_STMATRIX_COUNTS("");
  }
#undef PF_STMATRIX_COUNTS
#undef PF_STMATRIX
#else
  struct Frame {
    uint16_t* row;
    const uint32_t* d;
  } frame{static_cast<uint16_t*>(row), d};
  emulated::give_row("stmatrix", row, emulated::self->lane < 8 * count, true);
  emulated::warp_collective("stmatrix", frame, [](Frame* const* f) {
    for (int i = 0; i < count; ++i) {
      emulated::count_matrix([&](int r) { return f[8 * i + r]->row; });
      for (int lane = 0; lane < 32; ++lane) {
        const int g = lane / 4, t = lane % 4;
        const auto at = [&](int r, int c) -> uint16_t& {
          return transposed ? f[8 * i + c]->row[r] : f[8 * i + r]->row[c];
        };
        at(g, 2 * t) = uint16_t(f[lane]->d[i]);
        at(g, 2 * t + 1) = uint16_t(f[lane]->d[i] >> 16);
      }
    }
    ++emulated::counters.stmatrix;
  });
#endif
}

}  // namespace pyformer::cuda
