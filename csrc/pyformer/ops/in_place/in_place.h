// Operations that write to lists of tensors, and what the optimisers' steps share: checks of such lists, and their
// pieces, so that one parallel loop serves tensors of all sizes. None of them has a gradient.
//
// All is checked before the first write, and the writes are not interrupted: a list is never left half written.
#pragma once
#include <string>
#include <vector>

#include "pyformer/core/tensor.h"

namespace pyformer {

// tensors *= factor, float32 or float64
void scale_(const std::vector<Tensor>& tensors, double factor);
// tensors = 0, any dtype
void zero_(const std::vector<Tensor>& tensors);
// tensors[i] = sources[i], same shape and dtype
void copy_(const std::vector<Tensor>& tensors, const std::vector<Tensor>& sources);

struct TensorList {
  const char* name;
  const std::vector<Tensor>& tensors;
  bool is_written;
};
// Every list must match the first in length, shapes and dtypes; what is written must be a leaf and must overlap nothing
// else in the lists. Then raises the version of what will be written.
void begin_writing(const char* op, const std::vector<TensorList>& lists);

// At most kPieceSize consecutive elements of one tensor of a list.
constexpr int64_t kPieceSize = 1 << 14;
struct Piece {
  size_t tensor;
  int64_t begin, count;
};
std::vector<Piece> pieces_of(const std::vector<Tensor>& tensors, int64_t piece_size = kPieceSize);

}  // namespace pyformer
