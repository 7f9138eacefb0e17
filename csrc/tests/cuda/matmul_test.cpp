// Products on tensor cores give the same right bits in every schedule; mistakes that are planted in them are found.
#include "tests/cuda/runs.h"

namespace pyformer::cuda {
namespace {

using namespace emulated;

template <class T>
std::vector<double> product() {
  const std::vector<T> a = matrix<T>(kM, kK, 4), b = matrix<T>(kN, kK, 5);
  std::vector<double> c(kM * kN, 0);
  for (int i = 0; i < kM; ++i)
    for (int j = 0; j < kN; ++j)
      for (int k = 0; k < kK; ++k) c[i * kN + j] += double(widened(a[i * kK + k])) * double(widened(b[j * kK + k]));
  return c;
}

// How often shared memory is accessed more than once because of its banks.
uint64_t extra_wavefronts(const std::function<std::vector<float>()>& kernel) {
  const With settings("count");
  counters = {};
  kernel();
  return counters.wavefronts - counters.ideal_wavefronts;
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
  REQUIRE(extra_wavefronts(matmul_sm80<BFloat16, Plant::nothing>) == 0);
  REQUIRE(extra_wavefronts(matmul_sm80<BFloat16, Plant::bank_conflict>) > 0);
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
