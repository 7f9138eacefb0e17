#include "pyformer/ops/global_norm/global_norm.h"

#include "pyformer/base/run.h"
#include "pyformer/ops/global_norm/global_norm_kernels.h"
#include "pyformer/ops/in_place/in_place.h"

namespace pyformer {

static double* number(const Array& array) { return static_cast<double*>(array.raw()); }

Array global_norm(const std::vector<Tensor>& tensors) {
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (!tensors[i].defined()) throw TypeError("global_norm: expected tensors, got an absent one");
    if (!is_float(tensors[i].dtype()))
      throw TypeError(cat("global_norm: expected tensors of float dtypes, got ", name(tensors[i].dtype())));
    check_device("global_norm", "a tensor", tensors[i].array(), "the first", tensors[0].array());
  }
  const Device device = tensors.empty() ? default_device() : tensors[0].device();
  const std::vector<Piece> pieces = pieces_of(tensors, kReduceBlock);
  const Array sums = Array::empty({int64_t(pieces.size()), 2}, DType::float64, device), norm = sums.like({});
  const auto sum_of = [&](size_t i) { return static_cast<ScaledSquares*>(sums.raw()) + i; };
  PiecesByDType<SquaresBlock> blocks;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Tensor& tensor = tensors[pieces[i].tensor];
    blocks.add(tensor.dtype(), {piece_at(tensor, pieces[i]), pieces[i].count, sum_of(i)});
  }
  blocks.for_each(device, [&](DType dtype, const SquaresBlock* list, int64_t count) {
    run("global_norm", &GlobalNormTable::sum_squares, device, dtype, SumSquares{list, count});
  });
  run("global_norm", &GlobalNormTable::norm, norm, NormOfSums{sums.dim(0), sum_of(0), number(norm)});
  return norm;
}

Array clip_gradients_(const std::vector<Tensor>& tensors, double max_norm) {
  if (!(max_norm > 0)) throw ValueError(cat("clip_gradients_: max_norm must be above 0, got ", max_norm));
  std::vector<Tensor> gradients;
  for (const Tensor& t : tensors)
    if (const Array gradient = t.grad(); gradient.defined()) gradients.emplace_back(gradient);
  const Array norm = global_norm(gradients), factor = norm.like({});
  run("clip_gradients_", &GlobalNormTable::clip, norm, ClipFactor{number(norm), max_norm, number(factor)});
  scale_(gradients, factor);
  return norm;
}

}  // namespace pyformer
