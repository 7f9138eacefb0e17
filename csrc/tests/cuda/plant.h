// Mistakes that are made in a test kernel on purpose, for the emulator to find.
#pragma once

namespace pyformer::cuda {

enum class Plant {
  nothing,
  no_barrier,
  out_of_bounds,
  unset_accumulator,
  no_copy_wait,  // of cp.async
  bank_conflict,
  wrong_parity,
  no_empty_wait,  // the producer does not wait until a slot is free
  no_mbarrier_fence,
  no_wgmma_fence,
  no_wgmma_wait,
  early_read,   // of what a wgmma adds to
  early_write,  // of the registers that it multiplies
  no_proxy_fence,
  no_store_wait,  // of bulk stores
};

}  // namespace pyformer::cuda
