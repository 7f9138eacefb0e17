// Products on tensor cores give the same right bits in every schedule; mistakes that are planted in them are found.
#include <cmath>

#include "tests/cuda/matmul_sm80_kernel.h"
#include "tests/cuda/matmul_sm90_kernel.h"
#include "tests/cuda/schedules.h"

namespace pyformer::cuda {
namespace {

using namespace emulated;

constexpr int kM = 100, kN = 136, kK = 264;

template <class T>
std::vector<T> matrix(int rows, int cols, uint32_t seed) {
  std::vector<T> v;
  for (const float x : numbers(size_t(rows) * cols, seed)) v.push_back(rounded<T>(x));
  return v;
}

template <class T>
std::vector<double> product() {
  const std::vector<T> a = matrix<T>(kM, kK, 4), b = matrix<T>(kN, kK, 5);
  std::vector<double> c(kM * kN, 0);
  for (int i = 0; i < kM; ++i)
    for (int j = 0; j < kN; ++j)
      for (int k = 0; k < kK; ++k) c[i * kN + j] += double(widened(a[i * kK + k])) * double(widened(b[j * kK + k]));
  return c;
}

template <class T, Plant plant>
std::vector<float> matmul_sm80() {
  const std::vector<T> a = matrix<T>(kM, kK, 4), b = matrix<T>(kN, kK, 5);
  std::vector<float> c(kM * kN, NAN);
  launch(matmul_sm80_test<T, plant>, dim3((kN + 63) / 64, (kM + 63) / 64), MatmulSm80Shared::kThreads,
         sizeof(MatmulSm80Shared), nullptr, MatmulSm80Test{kM, kN, kK, &a.data()->bits, &b.data()->bits, c.data()});
  return c;
}

template <class T>
TensorMap map_of(const std::vector<T>& v, int rows, int cols) {
  return tensor_map(v.data(), DTypeOf<T>::value,
                    TensorMapShape<2>{{cols, rows}, {2, cols * 2}, {64, 64}, Swizzle::bytes_128});
}

template <class T, Plant plant>
std::vector<T> matmul_sm90() {
  const std::vector<T> a = matrix<T>(kM, kK, 4), b = matrix<T>(kN, kK, 5);
  std::vector<T> c(kM * kN, T{0xffff});
  launch(matmul_sm90_test<T, plant>, dim3((kN + 63) / 64, (kM + 63) / 64), MatmulSm90Shared::kThreads,
         sizeof(MatmulSm90Shared), nullptr,
         MatmulSm90Test{map_of(a, kM, kK), map_of(b, kN, kK), map_of(c, kM, kN), kK});
  return c;
}

template <class T>
float wide(T x) {
  return widened(x);
}

}  // namespace
}  // namespace pyformer::cuda

void test_matmul_sm80() {
  using namespace pyformer;
  using namespace pyformer::cuda;
  right_in_every_schedule<float>(matmul_sm80<Float16, Plant::nothing>, product<Float16>(), 1e-4, wide<float>);
  const auto right =
      right_in_every_schedule<float>(matmul_sm80<BFloat16, Plant::nothing>, product<BFloat16>(), 1e-4, wide<float>);
  found<float>("a missing cp.async.wait_group", "lowest,late", matmul_sm80<BFloat16, Plant::no_copy_wait>, right, "");
  found<float>("a missing __syncthreads", "lowest,late", matmul_sm80<BFloat16, Plant::no_barrier>, right, "");
  found<float>("an unset accumulator", "lowest", matmul_sm80<BFloat16, Plant::unset_accumulator>, right, "");
}

void test_matmul_sm90() {
  using namespace pyformer;
  using namespace pyformer::cuda;
  right_in_every_schedule<Float16>(matmul_sm90<Float16, Plant::nothing>, product<Float16>(), 1e-3, wide<Float16>);
  const auto right = right_in_every_schedule<BFloat16>(matmul_sm90<BFloat16, Plant::nothing>, product<BFloat16>(), 8e-3,
                                                       wide<BFloat16>);
  const auto is_found = [&]<Plant plant>(const char* what, const char* schedule, const char* says) {
    found<BFloat16>(what, schedule, matmul_sm90<BFloat16, plant>, right, says);
  };
  is_found.operator()<Plant::wrong_parity>("a wrong parity", "lowest", "all threads wait");
  is_found.operator()<Plant::no_empty_wait>("a slot that is filled too early", "highest,late", "more arrivals");
  is_found.operator()<Plant::no_mbarrier_fence>("a missing fence.mbarrier_init", "lowest", "fence.mbarrier_init");
  is_found.operator()<Plant::no_wgmma_fence>("a missing wgmma.fence", "lowest", "without wgmma.fence");
  is_found.operator()<Plant::no_wgmma_wait>("a missing wgmma.wait_group", "highest,late", "");
  is_found.operator()<Plant::no_proxy_fence>("a missing fence.proxy.async", "lowest", "");
  is_found.operator()<Plant::no_barrier>("a missing bar.sync", "lowest", "");
  is_found.operator()<Plant::no_store_wait>("a missing bulk wait_group", "lowest,late", "bulk stores are under way");
}
