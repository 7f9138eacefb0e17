// What a bulk tensor copy (TMA) knows of a tensor in global memory, made on the host and handed to a kernel in its
// arguments, which are then `const __grid_constant__`.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>

#include "pyformer/base/dtype.h"
#include "pyformer/cuda/launch.h"

#if defined(__CUDACC__)
#include <cudaTypedefs.h>
#endif

namespace pyformer::cuda {

// In which order the 16-byte chunks of a line of 128, 64 or 32 bytes stand in shared memory, so that eight rows of a
// column of chunks lie in different banks. The values are those of wgmma's descriptors.
enum class Swizzle : uint32_t { none = 0, bytes_128 = 1, bytes_64 = 2, bytes_32 = 3 };

#if defined(__CUDACC__)
using TensorMap = CUtensorMap;
#else
struct alignas(64) TensorMap {
  const unsigned char* base;
  int rank, item_bytes;
  int64_t sizes[5], strides[5];
  int box[5];
  Swizzle swizzle;
};
#endif

// A tensor of `rank` dimensions, innermost first: its sizes; how many bytes lie between neighbours of all dimensions
// but the innermost, whose elements are adjacent; how many elements a copy takes. What of a box lies outside is read as
// zeros and not written. CudaError if hardware cannot: base and strides are multiples of 16 bytes, a box has at most
// 256 elements a dimension and, innermost, as many bytes as the swizzle's line.
template <int rank>
struct TensorMapShape {
  int64_t sizes[rank];
  int64_t strides[rank];  // [0] is not looked at
  int box[rank];
  Swizzle swizzle;
};

template <int rank>
void check_tensor_map(const void* base, int item_bytes, const TensorMapShape<rank>& shape) {
  const auto need = [](bool condition, const char* what) {
    if (!condition) throw CudaError(std::string("tensor_map: ") + what);
  };
  need(reinterpret_cast<uintptr_t>(base) % 16 == 0, "the tensor must start at a multiple of 16 bytes");
  for (int i = 0; i < rank; ++i) {
    need(shape.sizes[i] >= 1 && shape.sizes[i] <= int64_t(1) << 32, "a size must be 1 to 2^32");
    need(shape.box[i] >= 1 && shape.box[i] <= 256, "a box has 1 to 256 elements a dimension");
    need(i == 0 || shape.strides[i] % 16 == 0, "strides must be multiples of 16 bytes");
  }
  const int line = shape.box[0] * item_bytes;
  need(line % 16 == 0, "a box's innermost dimension must be a multiple of 16 bytes");
  const int lines[] = {line, 128, 64, 32};
  need(line == lines[int(shape.swizzle)], "a box's innermost dimension must be a line of the swizzle");
}

#if defined(__CUDACC__)
inline CUtensorMapDataType tensor_map_type(DType dtype) {
  if (dtype == DType::bfloat16) return CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  if (dtype == DType::float16) return CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
  if (dtype == DType::float32) return CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
  throw CudaError(std::string("tensor_map: no tensors of ") + name(dtype));
}

inline CUtensorMapSwizzle tensor_map_swizzle(Swizzle swizzle) {
  constexpr CUtensorMapSwizzle all[] = {CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                        CU_TENSOR_MAP_SWIZZLE_64B, CU_TENSOR_MAP_SWIZZLE_32B};
  return all[int(swizzle)];
}

// The driver's function, found at run time: the library does not link with the driver.
inline PFN_cuTensorMapEncodeTiled_v12000 tensor_map_encoder() {
  static const auto encode = [] {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result;
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &result),
          "cuTensorMapEncodeTiled");
    if (!found) throw CudaError("tensor_map: the driver has no cuTensorMapEncodeTiled");
    return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(found);
  }();
  return encode;
}
#endif

template <int rank>
TensorMap tensor_map(const void* base, DType dtype, const TensorMapShape<rank>& shape) {
  static_assert(rank >= 1 && rank <= 5);
  check_tensor_map(base, int(item_bytes(dtype)), shape);
#if defined(__CUDACC__)
  cuuint64_t sizes[rank], strides[rank];
  cuuint32_t box[rank], steps[rank];
  for (int i = 0; i < rank; ++i) {
    sizes[i] = cuuint64_t(shape.sizes[i]), box[i] = cuuint32_t(shape.box[i]), steps[i] = 1;
    if (i) strides[i - 1] = cuuint64_t(shape.strides[i]);
  }
  CUtensorMap map;
  const CUresult result =
      tensor_map_encoder()(&map, tensor_map_type(dtype), rank, const_cast<void*>(base), sizes, strides, box, steps,
                           CU_TENSOR_MAP_INTERLEAVE_NONE, tensor_map_swizzle(shape.swizzle),
                           CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS)
    throw CudaError("tensor_map: the driver refuses it, error " + std::to_string(int(result)));
  return map;
#else
  TensorMap map = {static_cast<const unsigned char*>(base), rank, int(item_bytes(dtype)), {}, {}, {}, shape.swizzle};
  for (int i = 0; i < rank; ++i)
    map.sizes[i] = shape.sizes[i], map.strides[i] = i ? shape.strides[i] : map.item_bytes, map.box[i] = shape.box[i];
  return map;
#endif
}

}  // namespace pyformer::cuda
