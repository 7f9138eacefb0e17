// The random numbers' state: a seed, and the number of the next stream. An op that draws takes a stream of its own;
// its element i depends only on (seed, stream, i), so neither threads nor instruction sets change what is drawn.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace pyformer {

struct RandomStream {
  uint64_t seed = 0;
  uint64_t stream = 0;
};

// All of these lock; several threads may draw at once. The process starts with seed 0, stream 0.
RandomStream draw_stream();              // a stream of its own for the caller
void manual_seed(uint64_t seed);         // and back to stream 0
RandomStream rng_state();                // what the next draw_stream() will give
void set_rng_state(RandomStream state);  // nothing within a StreamScope that gives again

// While one lives, draw_stream() on its thread is noted in it, or gives again what an earlier one noted: whatever other
// threads draw and seed meanwhile, and without a change of the process's state. They nest.
class StreamScope {
 public:
  StreamScope();                                            // notes
  explicit StreamScope(std::vector<RandomStream> streams);  // gives again
  ~StreamScope();
  StreamScope(const StreamScope&) = delete;
  const std::vector<RandomStream>& streams() const { return streams_; }
  bool gave_all() const { return next_ == streams_.size(); }

  static RandomStream draw(StreamScope* scope);  // from the scope, or from the process if there is none
  static bool is_replaying();

 private:
  StreamScope* const outer_;
  std::vector<RandomStream> streams_;
  const bool replays_;
  size_t next_ = 0;
};

}  // namespace pyformer
