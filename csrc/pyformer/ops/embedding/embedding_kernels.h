// What embedding's kernels see.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

// Work item: one id.
struct EmbeddingForward {
  int64_t ids_count, cols;
  const int64_t* ids;  // within the table
  const void* weight;  // (V, C)
  void* out;           // (ids, C)
  int64_t items() const { return ids_count; }
  int64_t grain() const { return grain_of_rows(cols); }
};

// Work item: kColumns columns, all ids in order.
struct EmbeddingBackward {
  static constexpr int64_t kColumns = 64;
  int64_t ids_count, cols;
  const int64_t* ids;
  const void* dout;  // (ids, C)
  void* dweight;     // (V, C), zeros before; in the accumulator's dtype
  int64_t items() const { return (cols + kColumns - 1) / kColumns; }
  int64_t grain() const { return 1; }
};

struct EmbeddingTable {
  static constexpr const char* name = "embedding";
  static constexpr bool plain = true;
  PerDtype<Kernel<EmbeddingForward>> forward;
  PerDtype<Kernel<EmbeddingBackward>> backward;
};

}  // namespace pyformer
