#include "pyformer/core/random.h"

#include <pthread.h>

#include <mutex>
#include <stdexcept>
#include <utility>

#include "pyformer/base/recording.h"

namespace pyformer {

static std::mutex mutex;
static RandomStream next;
static uint64_t forks = 0;  // since the last seed, of this process and of those it comes from

static uint64_t mix(uint64_t x);

// A child of fork() draws numbers that neither its parent nor another child draws, the same in every run.
static void in_child() {
  next = {mix(mix(mix(next.seed) + next.stream) + forks), 0};
  mutex.unlock();
}
[[maybe_unused]] static const int mutex_survives_fork = pthread_atfork(
    [] {
      mutex.lock();
      ++forks;
    },
    [] { mutex.unlock(); }, in_child);

static thread_local StreamScope* innermost = nullptr;

StreamScope::StreamScope() : outer_(innermost), kind_(Kind::notes) { innermost = this; }
StreamScope::StreamScope(std::vector<RandomStream> streams)
    : outer_(innermost), kind_(Kind::replays), streams_(std::move(streams)) {
  innermost = this;
}
StreamScope::StreamScope(RandomStream first) : outer_(innermost), kind_(Kind::counts), next_(first) {
  innermost = this;
}
StreamScope::~StreamScope() { innermost = outer_; }

static RandomStream count_on(RandomStream& next) {
  const RandomStream drawn = next;
  ++next.stream;
  return drawn;
}

RandomStream StreamScope::draw(StreamScope* scope) {
  if (!scope) {
    std::lock_guard lock(mutex);
    return count_on(next);
  }
  if (scope->kind_ == Kind::counts) return count_on(scope->next_);
  if (scope->kind_ == Kind::notes) return scope->streams_.emplace_back(draw(scope->outer_));
  if (scope->gave_all())
    throw std::runtime_error("random: a recomputation draws more often than the computation it repeats");
  return scope->streams_[scope->given_++];
}

bool StreamScope::is_within(Kind kind) {
  for (const StreamScope* scope = innermost; scope; scope = scope->outer_)
    if (scope->kind_ == kind) return true;
  return false;
}
bool StreamScope::is_replaying() { return is_within(Kind::replays); }
bool StreamScope::is_noting() { return is_within(Kind::notes); }

// SplitMix64 (Steele, Lea, Flood 2014): one to one, and every bit of x changes about half of the result's.
static uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

RandomStream micro_batch_stream(uint64_t seed, uint64_t step, uint64_t micro_batch) {
  return {mix(mix(mix(seed) + step) + micro_batch), 0};
}

RandomStream draw_stream() {
  refuse_to_record("random numbers are drawn");
  return StreamScope::draw(innermost);
}

void manual_seed(uint64_t seed) {
  if (StreamScope::is_replaying()) return;
  std::lock_guard lock(mutex);
  next = {seed, 0};
  forks = 0;
}

RandomStream rng_state() {
  std::lock_guard lock(mutex);
  return next;
}

// The count of forks goes on: two children that are forked at the same state must not draw the same.
void set_rng_state(RandomStream state) {
  if (StreamScope::is_replaying()) return;
  std::lock_guard lock(mutex);
  next = state;
}

}  // namespace pyformer
