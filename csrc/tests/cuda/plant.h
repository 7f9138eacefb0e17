// Mistakes that are made in a test kernel on purpose, for the emulator to find.
#pragma once

namespace pyformer::cuda {

enum class Plant {
  nothing,
  no_barrier,
  out_of_bounds,
};

}  // namespace pyformer::cuda
