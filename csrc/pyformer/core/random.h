// The random numbers' state: a seed, and the number of the next stream. An op that draws takes a stream of its own;
// its element i depends only on (seed, stream, i), so neither threads nor instruction sets change what is drawn.
#pragma once
#include <cstdint>

namespace pyformer {

struct RandomStream {
  uint64_t seed = 0;
  uint64_t stream = 0;
};

// All of these lock; several threads may draw at once. The process starts with seed 0, stream 0.
RandomStream draw_stream();       // a stream of its own for the caller
void manual_seed(uint64_t seed);  // and back to stream 0
RandomStream rng_state();         // what the next draw_stream() will give
void set_rng_state(RandomStream state);

}  // namespace pyformer
