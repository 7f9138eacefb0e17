#include "pyformer/core/random.h"

#include <pthread.h>

#include <mutex>
#include <stdexcept>
#include <utility>

namespace pyformer {

static std::mutex mutex;
[[maybe_unused]] static const int mutex_survives_fork =
    pthread_atfork([] { mutex.lock(); }, [] { mutex.unlock(); }, [] { mutex.unlock(); });
static RandomStream next;

static thread_local StreamScope* innermost = nullptr;

StreamScope::StreamScope() : outer_(innermost), replays_(false) { innermost = this; }
StreamScope::StreamScope(std::vector<RandomStream> streams)
    : outer_(innermost), streams_(std::move(streams)), replays_(true) {
  innermost = this;
}
StreamScope::~StreamScope() { innermost = outer_; }

RandomStream StreamScope::draw(StreamScope* scope) {
  if (scope && scope->replays_) {
    if (scope->next_ == scope->streams_.size())
      throw std::runtime_error("random: a recomputation draws more often than the computation it repeats");
    return scope->streams_[scope->next_++];
  }
  if (scope) return scope->streams_.emplace_back(draw(scope->outer_));
  std::lock_guard lock(mutex);
  const RandomStream drawn = next;
  ++next.stream;
  return drawn;
}

bool StreamScope::is_replaying() {
  for (const StreamScope* scope = innermost; scope; scope = scope->outer_)
    if (scope->replays_) return true;
  return false;
}

RandomStream draw_stream() { return StreamScope::draw(innermost); }

void manual_seed(uint64_t seed) { set_rng_state({seed, 0}); }

RandomStream rng_state() {
  std::lock_guard lock(mutex);
  return next;
}

void set_rng_state(RandomStream state) {
  if (StreamScope::is_replaying()) return;
  std::lock_guard lock(mutex);
  next = state;
}

}  // namespace pyformer
