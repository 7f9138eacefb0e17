#include "pyformer/ops/global_norm/global_norm.h"

#include <cmath>

#include "pyformer/base/dispatch.h"
#include "pyformer/base/thread_pool.h"
#include "pyformer/ops/global_norm/global_norm_kernels.h"
#include "pyformer/ops/in_place/in_place.h"

namespace pyformer {

static const KernelSets<GlobalNormKernels>& sets() {
  static const auto sets = kernel_sets<GlobalNormKernels>([]<Isa isa>() { return &global_norm_kernels<isa>(); });
  return sets;
}

double global_norm(const std::vector<Tensor>& tensors) {
  for (const Tensor& t : tensors) {
    if (!t.defined()) throw TypeError("global_norm: expected tensors, got an absent one");
    float_index("global_norm", t.dtype());
  }
  const std::vector<Piece> pieces = pieces_of(tensors, kReduceBlock);
  std::vector<double> sums(pieces.size());
  std::vector<SquaresBlock> blocks[2];  // by dtype
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Array& a = tensors[pieces[i].tensor].array();
    const char* x = static_cast<const char*>(a.raw()) + pieces[i].begin * item_bytes(a.dtype());
    blocks[int(a.dtype())].push_back({x, pieces[i].count, &sums[i]});
  }
  for (const DType dtype : {DType::float32, DType::float64}) {
    const auto kernel = find_kernel("global_norm", sets(), &GlobalNormKernels::sum_squares, dtype);
    const SumSquares args = {blocks[int(dtype)].data()};
    constexpr int64_t grain = kPieceSize / kReduceBlock;
    parallel_for(int64_t(blocks[int(dtype)].size()), grain,
                 [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
  }
  double norm = 0;
  in_default_float_mode([&] {
    for (double s : sums) norm += s;
    norm = std::sqrt(norm);
  });
  return norm;
}

double clip_gradients_(const std::vector<Tensor>& tensors, double max_norm) {
  if (!(max_norm > 0)) throw ValueError(cat("clip_gradients_: max_norm must be above 0, got ", max_norm));
  std::vector<Tensor> gradients;
  for (const Tensor& t : tensors)
    if (const Array gradient = t.grad(); gradient.defined()) gradients.emplace_back(gradient);
  const double norm = global_norm(gradients);
  double factor = 1.0;
  in_default_float_mode([&] {
    if (std::isfinite(norm) && norm > max_norm) factor = max_norm / (norm + 1e-6);
  });
  if (factor != 1.0) scale_(gradients, factor);
  return norm;
}

}  // namespace pyformer
