// The random numbers' state: a seed, and the number of the next stream. An op that draws takes a stream of its own;
// its element i depends only on (seed, stream, i), so neither threads nor instruction sets change what is drawn.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "pyformer/base/device.h"

namespace pyformer {

struct RandomStream {
  uint64_t seed = 0;
  uint64_t stream = 0;
  // Where kernels find the seed and stream of each replay of a recording (graph_recording.h); null outside of one.
  const uint64_t* replayed = nullptr;
};

// All of these lock; several threads may draw at once. The process starts with seed 0, stream 0.
RandomStream draw_stream();               // a stream of its own for the caller
RandomStream draw_stream(Device device);  // the same; in a recording there, each replay draws its own
void manual_seed(uint64_t seed);          // starts at stream 0, as if the process had not forked; not if replaying
RandomStream rng_state();                 // what the next draw_stream() will give
void set_rng_state(RandomStream state);   // does nothing within a StreamScope that replays

// While a scope lives, draw_stream() on its thread takes streams from it. A scope that notes takes each stream from the
// scope around it, or from the process, and lists it. A scope that replays gives the streams of such a list again. A
// scope that counts gives one stream, then the next streams of the same seed. Scopes that replay or count do not change
// the process's state, and no other thread changes what they give. Scopes nest.
class StreamScope {
 public:
  StreamScope();                                            // notes
  explicit StreamScope(std::vector<RandomStream> streams);  // replays
  explicit StreamScope(RandomStream first);                 // counts
  ~StreamScope();
  StreamScope(const StreamScope&) = delete;
  const std::vector<RandomStream>& streams() const { return streams_; }
  bool gave_all() const { return given_ == streams_.size(); }

  // The next stream of the scope, or of the process if `scope` is null.
  static RandomStream draw(StreamScope* scope);
  // A scope that replays gives the stream that was noted. Else `make` gives it; the scope and those around it note it.
  static RandomStream note(StreamScope* scope, const std::function<RandomStream()>& make);
  static bool is_replaying();
  static bool is_noting();

 private:
  enum class Kind { notes, replays, counts };
  static bool is_within(Kind kind);
  StreamScope* const outer_;
  const Kind kind_;
  std::vector<RandomStream> streams_;
  size_t given_ = 0;   // of streams_, by one that replays
  RandomStream next_;  // of one that counts
};

// The first stream of a micro-batch of a training step. Its seed is a hash of all three numbers, so a micro-batch draws
// the same whatever was drawn before it, in whichever process it is. Within a step no two micro-batches share a seed.
RandomStream micro_batch_stream(uint64_t seed, uint64_t step, uint64_t micro_batch);

}  // namespace pyformer
