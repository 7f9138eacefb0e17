#include "pyformer/cuda/emulated_mbarrier.h"

#include <cstring>
#include <sstream>

#include "pyformer/cuda/emulated_memory.h"

namespace pyformer::emulated {

namespace {

constexpr uint32_t kMostArrivals = (1 << 20) - 1;

// Of memory that nobody initialised all bits are 1.
struct State {
  uint64_t phase : 1, expected : 20, pending : 20;
  int64_t bytes : 22;
  uint64_t unset : 1;
};
static_assert(sizeof(State) == 8);

State state_of(const uint64_t* bar, const char* op) {
  if (shared_address(bar) % 8) fail(std::string(op) + ": the mbarrier is not 8-byte aligned");
  State s;
  std::memcpy(&s, bar, sizeof s);
  if (s.unset) fail(std::string(op) + ": the mbarrier was not initialised");
  return s;
}

// Keeps the new state, or begins the next phase if this one is complete.
void keep(uint64_t* bar, State s) {
  const bool complete = !s.pending && !s.bytes;
  if (complete) {
    s.phase = s.phase ^ 1;
    s.pending = s.expected;
  }
  std::memcpy(bar, &s, sizeof s);
  if (complete) wake_all(bar);
}

// What the race detector knows of a phase.
const void* order_of(const uint64_t* bar, unsigned phase) { return reinterpret_cast<const char*>(bar) + phase; }

std::string described(const void* object, unsigned parity) {
  const uint64_t* bar = static_cast<const uint64_t*>(object);
  const State s = state_of(bar, "mbarrier");
  std::ostringstream text;
  text << "of parity " << parity << " at shared byte " << shared_address(bar) << " (phase " << s.phase << ", "
       << s.pending << " of " << s.expected << " arrivals and " << s.bytes << " bytes missing)";
  return text.str();
}

}  // namespace

void mbarrier_init(uint64_t* bar, uint32_t arrivals) {
  require(shared_address(bar) % 8 == 0, "mbarrier.init: the mbarrier is not 8-byte aligned");
  require(arrivals >= 1 && arrivals <= kMostArrivals, "mbarrier.init: it counts 1 to 2^20 - 1 arrivals");
  State s = {};
  s.expected = arrivals, s.pending = arrivals;
  std::memcpy(bar, &s, sizeof s);
  block->unfenced.push_back({bar, self->id});
}

void fence_mbarrier_init() {
  std::erase_if(block->unfenced, [](const Unfenced& u) { return u.thread == self->id; });
}

void mbarrier_expect(uint64_t* bar, uint32_t bytes) {
  State s = state_of(bar, "mbarrier.expect_tx");
  s.bytes = s.bytes + int64_t(bytes);
  std::memcpy(bar, &s, sizeof s);
}

void mbarrier_arrive(uint64_t* bar) {
  State s = state_of(bar, "mbarrier.arrive");
  require(s.pending, "mbarrier.arrive: more arrivals than it was initialised for");
  releases(order_of(bar, s.phase));
  s.pending = s.pending - 1;
  keep(bar, s);
}

void mbarrier_wait(uint64_t* bar, uint32_t parity) {
  require(parity < 2, "mbarrier.try_wait: a parity is 0 or 1");
  while (state_of(bar, "mbarrier.try_wait").phase == parity)
    wait_on(bar, {"mbarrier.try_wait", bar, parity, described});
  acquires(order_of(bar, parity));
}

void mbarrier_is_used(uint64_t* bar) {
  for (const Unfenced& u : block->unfenced)
    require(u.bar != bar, "a bulk copy uses an mbarrier that was initialised without fence.mbarrier_init");
  releases(order_of(bar, state_of(bar, "bulk copy").phase));
}

void mbarrier_complete(uint64_t* bar, uint32_t bytes) {
  State s = state_of(bar, "bulk copy");
  s.bytes = s.bytes - int64_t(bytes);
  keep(bar, s);
}

}  // namespace pyformer::emulated
