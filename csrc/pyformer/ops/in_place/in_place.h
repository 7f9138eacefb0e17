// Operations that write to lists of tensors, and what the optimisers' steps share: checks of such lists, and their
// pieces, so that one parallel loop serves tensors of all sizes. None of them has a gradient.
//
// All is checked before the first write, and the writes are not interrupted: a list is never left half written.
#pragma once
#include <string>
#include <vector>

#include "pyformer/core/arithmetic/checks.h"
#include "pyformer/core/tensor.h"

namespace pyformer {

// tensors *= factor, of a float dtype
void scale_(const std::vector<Tensor>& tensors, double factor);
// The same by a number on their device, (), float64; a factor of 1 writes nothing.
void scale_(const std::vector<Tensor>& tensors, const Array& factor);
// tensors = 0, any dtype
void zero_(const std::vector<Tensor>& tensors);
// tensors[i] = sources[i], same shape and dtype
void copy_(const std::vector<Tensor>& tensors, const std::vector<Tensor>& sources);

// What a list must be, compared with the first: its dtypes, or their accumulators (gradients and state of 16-bit
// parameters are float32); or masters: float32 where the first holds 16-bit floats, absent elsewhere.
enum class ListDType { same, accumulator, masters };
struct TensorList {
  const char* name;
  const std::vector<Tensor>& tensors;
  bool is_written;
  ListDType dtype = ListDType::same;
};
// Every list must match the first in length, shapes and dtypes; all must be on one device. What is written must be a
// leaf and must overlap nothing else in the lists. Then raises the version of what will be written.
void begin_writing(const char* op, const std::vector<TensorList>& lists);

// At most kPieceSize consecutive elements of one tensor of a list.
constexpr int64_t kPieceSize = 1 << 14;
struct Piece {
  size_t tensor;
  int64_t begin, count;
};
std::vector<Piece> pieces_of(const std::vector<Tensor>& tensors, int64_t piece_size = kPieceSize);
// Where a tensor's piece begins; null for an absent tensor.
void* piece_at(const Tensor& tensor, const Piece& piece);

// Lists of pieces, one for each dtype of tensors, which for_each copies to the device for kernels to read.
template <class KernelPiece>
class PiecesByDType {
 public:
  void add(DType dtype, const KernelPiece& piece) { lists_[int(dtype)].push_back(piece); }
  // use(dtype, where the pieces are, how many) for each dtype that there is.
  template <class Use>
  void for_each(Device device, const Use& use) const {
    for (int d = 0; d < kDTypeCount; ++d)
      if (const auto& list = lists_[d]; !list.empty()) {
        const Array table = bytes_on(device, list.data(), int64_t(list.size() * sizeof(KernelPiece)));
        use(DType(d), static_cast<const KernelPiece*>(table.raw()), int64_t(list.size()));
      }
  }

 private:
  std::vector<KernelPiece> lists_[kDTypeCount];
};

}  // namespace pyformer
