// A ring of tiles in shared memory, sm_90a: one thread of the block's last warpgroup fills it by bulk copies, the warps
// of the warpgroups before that empty it.
#pragma once
#include "pyformer/cuda/wgmma.h"

namespace pyformer::cuda {

template <int slots>
struct Ring {
  Mbarrier full[slots], empty[slots];

  // Where a thread is in it, and the parity of how often it has gone round.
  struct Turn {
    int slot = 0;
    uint32_t parity = 0;
    DEVICE void next() {
      if (++slot < slots) return;
      slot = 0;
      parity ^= 1;
    }
  };

  // The one that fills: waits until the slot is empty. So many bytes are to be copied then.
  DEVICE Mbarrier* expect(const Turn& turn, uint32_t bytes) {
    mbarrier_wait(&empty[turn.slot], turn.parity ^ 1);
    mbarrier_arrive_expect(&full[turn.slot], bytes);
    return &full[turn.slot];
  }
  DEVICE void wait(const Turn& turn) { mbarrier_wait(&full[turn.slot], turn.parity); }
  // By each warp. No lane may be behind: one that still waited for the slot would wait for another turn.
  DEVICE void give_back(const Turn& turn) {
    __syncwarp();
    if (threadIdx.x % 32 == 0) mbarrier_arrive(&empty[turn.slot]);
  }

  // All threads of a block of 128 * (consumers + 1), with registers for consumers. `own` are more mbarriers, of one
  // arrival each.
  template <int consumers, class Produce, class Consume, class... Own>
  DEVICE void run(const Produce& produce, const Consume& consume, Own*... own) {
    constexpr int kProducer = 128 * consumers;
    if (threadIdx.x == kProducer) {
      for (int i = 0; i < slots; ++i) mbarrier_init(&full[i], 1), mbarrier_init(&empty[i], 4 * consumers);
      (mbarrier_init(own, 1), ...);
      fence_mbarrier_init();
    }
    __syncthreads();
    if (threadIdx.x >= kProducer) {
      setmaxnreg_decrease<24>();
      if (threadIdx.x == kProducer) produce();
    } else {
      setmaxnreg_increase<240>();
      consume();
    }
  }
};

// A box of 64 by 64 elements of 16 bits, lines of 128 bytes swizzled: the 16 elements from 16 * step on of the lines,
// k-major, or those lines, mn-major. The vectors that follow lie in the next box.
constexpr int kBoxElements = 64 * 64;
template <Major major>
DEVICE uint64_t box_descriptor(const void* box, int step) {
  if constexpr (major == Major::k) return advanced(k_major_descriptor(box), uint32_t(32 * step));
  return advanced(matrix_descriptor(box, kBoxElements * 2, 1024, Swizzle::bytes_128), uint32_t(2048 * step));
}

}  // namespace pyformer::cuda
