// What a kernel may not do ends its launch with a fault that says what and where; the next launch works.
#include "pyformer/cuda/ptx_sm90.h"
#include "tests/check.h"
#include "tests/cuda/runs.h"

namespace pyformer::cuda {
namespace {

using namespace emulated;

struct Nothing {};
struct Ring {
  Mbarrier full;
  float data[32];
};

// Each is run by 64 threads; `says` is what the fault must contain.
struct Case {
  const char* says;
  void (*kernel)(Nothing);
};
const Case kCases[] = {
    {"threads 0 to 31: bar.sync 1, where 32 of 64 are",
     [](Nothing) {
       if (threadIdx.x < 32) bar_sync(1, 64);
     }},
    {"threads disagree on how many", [](Nothing) { bar_sync(1, threadIdx.x < 32 ? 64 : 96); }},
    {"thread 3: mbarrier.try_wait of parity 0 at shared byte 0 (phase 0, 1 of 2 arrivals and 0 bytes missing)",
     [](Nothing) {
       Ring& s = shared_memory<Ring>();
       if (threadIdx.x != 3) return;
       mbarrier_init(&s.full, 2);
       mbarrier_arrive(&s.full);
       mbarrier_wait(&s.full, 0);
     }},
    {"mbarrier was not initialised", [](Nothing) { mbarrier_arrive(&shared_memory<Ring>().full); }},
    {"different instructions: __shfl_xor_sync and __ballot_sync",
     [](Nothing) {
       if (threadIdx.x % 32 < 16)
         (void)__shfl_xor_sync(~0u, 1.0f, 1);
       else
         (void)__ballot_sync(~0u, 1);
     }},
    {"name different masks", [](Nothing) { (void)__shfl_sync(threadIdx.x % 2 ? ~0u : 0x55555557u, 1, 0); }},
    {"the mask leaves out a lane", [](Nothing) { (void)__shfl_sync(1u, 1, 0); }},
    {"reads from a lane that takes no part",
     [](Nothing) {
       if (threadIdx.x % 32 < 16) (void)__shfl_sync(0xffffu, 1, 20);
     }},
    {"ldmatrix: not all 32 lanes",
     [](Nothing) {
       if (threadIdx.x % 32 == 5) return;
       uint32_t d[1];
       ldmatrix<false>(d, &shared_memory<Ring>());
     }},
    {"ldmatrix: a row is not 16-byte aligned",
     [](Nothing) {
       uint32_t d[1];
       ldmatrix<false>(d, shared_memory<Ring>().data + 1);
     }},
    {"lies outside of the block's", [](Nothing) { cp_async(&shared_memory<Ring>() + 1, nullptr, 0); }},
    {"cp.async: the shared address is not aligned",
     [](Nothing) { cp_async(shared_memory<Ring>().data + 1, nullptr, 0); }},
    {"ends while its cp.async are under way", [](Nothing) { cp_async(shared_memory<Ring>().data + 2, nullptr, 0); }},
    {"load: the address is not aligned", [](Nothing) { (void)load<4>(shared_memory<Ring>().data + 1); }},
    {"less shared memory than is used", [](Nothing) { shared_memory<char[4096]>()[0] = 0; }},
    {"wrote past the end of shared memory",
     [](Nothing) {
       int volatile beyond = 32;
       shared_memory<Ring>().data[beyond] = 0;
     }},
};

std::string fault_of(const std::string& schedule, void (*kernel)(Nothing), dim3 block, unsigned shared_bytes) {
  const With settings(schedule);
  try {
    launch(kernel, 1, block, shared_bytes, nullptr, Nothing{});
  } catch (const Fault& fault) {
    return fault.what();
  }
  return "";
}

}  // namespace
}  // namespace pyformer::cuda

void test_faults() {
  using namespace pyformer;
  using namespace pyformer::cuda;
  const std::vector<float> right = layer_norm<Plant::nothing>();
  for (const Case& c : kCases) {
    const std::string fault = fault_of("lowest,late", c.kernel, 64, sizeof(Ring));
    if (fault.find(c.says) == std::string::npos) throw std::runtime_error(cat("not \"", c.says, "\": ", fault));
    REQUIRE(emulated::same_bits(layer_norm<Plant::nothing>(), right));
  }
  void (*const nothing)(Nothing) = [](Nothing) {};
  REQUIRE(fault_of("", nothing, 1025, 0).find("1 to 1,024 threads") != std::string::npos);
  REQUIRE(fault_of("", nothing, 32, 233 << 10).find("227 KiB") != std::string::npos);
  REQUIRE(fault_of("sm80", nothing, 32, 164 << 10).find("163 KiB") != std::string::npos);
  REQUIRE(fault_of("sm86", nothing, 32, 100 << 10).find("99 KiB") != std::string::npos);
  expect_throws<std::invalid_argument>([] { emulated::settings_of("lowest,sideways"); }, "an unknown setting");
}
