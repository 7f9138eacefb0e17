#include "pyformer/core/random.h"

#include <pthread.h>

#include <mutex>

namespace pyformer {

static std::mutex mutex;
[[maybe_unused]] static const int mutex_survives_fork =
    pthread_atfork([] { mutex.lock(); }, [] { mutex.unlock(); }, [] { mutex.unlock(); });
static RandomStream next;

RandomStream draw_stream() {
  std::lock_guard lock(mutex);
  const RandomStream drawn = next;
  ++next.stream;
  return drawn;
}

void manual_seed(uint64_t seed) { set_rng_state({seed, 0}); }

RandomStream rng_state() {
  std::lock_guard lock(mutex);
  return next;
}

void set_rng_state(RandomStream state) {
  std::lock_guard lock(mutex);
  next = state;
}

}  // namespace pyformer
