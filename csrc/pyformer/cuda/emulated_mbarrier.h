// mbarriers: 8 bytes of shared memory that count arrivals and the bytes of bulk copies.
#pragma once
#include <cstdint>

#include "pyformer/cuda/emulated.h"

namespace pyformer::emulated {

void mbarrier_init(uint64_t* bar, uint32_t arrivals);
// Other proxies (bulk copies) may use the mbarriers that this thread initialised.
void fence_mbarrier_init();
void mbarrier_expect(uint64_t* bar, uint32_t bytes);
void mbarrier_arrive(uint64_t* bar);
void mbarrier_wait(uint64_t* bar, uint32_t parity);

// A bulk copy is issued that will complete on it; and it does so.
void mbarrier_is_used(uint64_t* bar);
void mbarrier_complete(uint64_t* bar, uint32_t bytes);

}  // namespace pyformer::emulated
