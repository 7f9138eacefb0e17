// What cache_append's kernel sees.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

// Work item: one token (b, t) of fresh.
struct CacheAppend {
  int64_t batch, tokens, room, token_size;  // B, T, Tmax, H * D
  const int64_t* starts;                    // (B,): where the tokens of each row go
  const void* fresh;                        // (B, T, H, D)
  void* cache;                              // (B, Tmax, H, D)
  int64_t items() const { return batch * tokens; }
  int64_t grain() const { return grain_of_rows(token_size); }
};

struct CacheAppendTable {
  static constexpr const char* name = "cache_append";
  static constexpr bool plain = true;
  PerDtype<Kernel<CacheAppend>> append;
};

}  // namespace pyformer
