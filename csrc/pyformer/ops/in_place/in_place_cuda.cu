// scale_, zero_ and copy_: a thread block for each piece.
#include "pyformer/cuda/kernel.h"
#include "pyformer/ops/in_place/in_place_kernels.h"

namespace pyformer::cuda {

template <class T>
__global__ void __launch_bounds__(kThreads) scale_pieces(const ScalePieces a) {
  using A = Accumulator<T>;
  const double wanted = a.factor ? *a.factor : a.number;
  if (a.factor && wanted == 1.0) return;
  // A factor that is too small for A is two that are not, as in in_place_ref.cpp.
  constexpr double kSmall = sizeof(A) == 4 ? 0x1p-100 : 0x1p-960;
  const bool split = wanted != 0 && wanted < kSmall && wanted > -kSmall;
  const A first = split ? A(kSmall) : A(1), factor = A(split ? wanted / kSmall : wanted);
  const WrittenPiece piece = a.pieces[blockIdx.x];
  for (int64_t i = threadIdx.x; i < piece.count; i += kThreads)
    to<T>(piece.to)[i] = in<T>(piece.to)[i] * first * factor;
}

template <class T>  // unsigned: only sets the width of an element
__global__ void __launch_bounds__(kThreads) zero_pieces(const WritePieces a) {
  const WrittenPiece piece = a.pieces[blockIdx.x];
  for (int64_t i = threadIdx.x; i < piece.count; i += kThreads) static_cast<T*>(piece.to)[i] = T(0);
}
template <class T>
__global__ void __launch_bounds__(kThreads) copy_pieces(const WritePieces a) {
  const WrittenPiece piece = a.pieces[blockIdx.x];
  for (int64_t i = threadIdx.x; i < piece.count; i += kThreads)
    static_cast<T*>(piece.to)[i] = static_cast<const T*>(piece.from)[i];
}

template <class Args, void (*kernel)(Args)>
static void start_pieces(const Args& a, int64_t, int64_t pieces) {
  start(kernel, pieces, kThreads, 0, a);
}

template <>
const InPlaceTable& cuda_table<InPlaceTable>() {
  static constexpr InPlaceTable table = {for_each_float<Kernel<ScalePieces>>([]<class T>() -> Kernel<ScalePieces> {
                                           return start_pieces<ScalePieces, scale_pieces<T>>;
                                         }),
                                         per_item_size<Kernel<WritePieces>>([]<class T>() -> Kernel<WritePieces> {
                                           return start_pieces<WritePieces, zero_pieces<T>>;
                                         }),
                                         per_item_size<Kernel<WritePieces>>([]<class T>() -> Kernel<WritePieces> {
                                           return start_pieces<WritePieces, copy_pieces<T>>;
                                         })};
  return table;
}

}  // namespace pyformer::cuda
