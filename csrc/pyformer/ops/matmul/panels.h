// How m vectors are cut into panels of about the same size.
#pragma once
#include <cstdint>

namespace pyformer {

// First vector of panel p out of `panels` over `count` vectors.
inline __attribute__((always_inline)) int64_t panel_begin(int64_t p, int64_t panels, int64_t count) {
  return p * (count / panels) + (p < count % panels ? p : count % panels);
}

}  // namespace pyformer
