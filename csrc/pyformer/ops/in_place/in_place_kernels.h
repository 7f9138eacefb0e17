// What the kernels of in_place see. Work item: one piece, consecutive elements of one tensor.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

struct WrittenPiece {
  void* to;
  const void* from;  // of copy_
  int64_t count;
};

struct WritePieces {
  const WrittenPiece* pieces;
  int64_t count;
  int64_t items() const { return count; }
  int64_t grain() const { return 1; }
};

struct ScalePieces {
  const WrittenPiece* pieces;
  int64_t count;
  const double* factor;  // on the device; null: the number
  double number;
  int64_t items() const { return count; }
  int64_t grain() const { return 1; }
};

struct InPlaceTable {
  static constexpr const char* name = "in_place";
  static constexpr bool plain = true;
  PerDtype<Kernel<ScalePieces>> scale;
  PerDtype<Kernel<WritePieces>> zero, copy;
};

}  // namespace pyformer
