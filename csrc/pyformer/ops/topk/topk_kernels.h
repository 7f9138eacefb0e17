// What topk's kernels see. A run is the `count` largest elements of a part of a row, the largest first.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

// Work item: one part, `part` elements long (the last of a row what is left), of one of outer * inner rows. Its run has
// min(k, its length) elements and lies at [outer, part's number * min(k, part), inner] of (outer, out_extent, inner).
struct TopkSelect {
  int64_t outer, extent, inner, k, part, out_extent;
  const void* x;  // (outer, extent, inner)
  void* values;
  int64_t* indices;
  constexpr int64_t parts() const { return (extent + part - 1) / part; }
  int64_t items() const { return outer * inner * parts(); }
  int64_t grain() const { return grain_of_rows(4 * part); }
};

// Work item: two neighbouring runs of a row, of parts of `part` elements, into one of parts of twice that.
struct TopkMerge {
  int64_t extent, k, part;
  const void* from_values;
  const int64_t* from_indices;
  void* values;
  int64_t* indices;
  int64_t items() const { return (extent + 2 * part - 1) / (2 * part); }
  int64_t grain() const { return 1; }
};

// Where the run of a part begins in memory where runs lie behind one another, and its length.
constexpr int64_t topk_run_start(int64_t number, int64_t k, int64_t part) { return number * (k < part ? k : part); }
constexpr int64_t topk_run_length(int64_t number, int64_t k, int64_t part, int64_t extent) {
  const int64_t left = extent - number * part, length = left < part ? left : part;
  return length < 0 ? 0 : k < length ? k : length;
}

struct TopkTable {
  static constexpr const char* name = "topk";
  static constexpr bool plain = true;
  PerDtype<Kernel<TopkSelect>> select;
  PerDtype<Kernel<TopkMerge>> merge;
};

}  // namespace pyformer
