// What the emulator counts, for accesses whose cost is known.
#include "pyformer/cuda/launch.h"
#include "tests/cuda/schedules.h"

namespace pyformer::cuda {
namespace {

using namespace emulated;

struct CountTest {
  float* global;
  int stride, offset;
};
struct CountShared {
  float data[32 * 33];
};

Counters counted(void (*kernel)(CountTest), int stride, int offset = 0) {
  alignas(128) static float global[4096];
  const With settings("count,highest");
  counters = {};
  launch(kernel, 1, 32, sizeof(CountShared), nullptr, CountTest{global, stride, offset});
  return counters;
}

template <int n>
void read_global(CountTest p) {
  (void)load<n>(p.global + p.offset + int(threadIdx.x) * p.stride);
}

template <int n>
void write_shared(CountTest p) {
  store(shared_memory<CountShared>().data + int(threadIdx.x) * p.stride, Packed<float, n>{});
}

void some_lanes(CountTest p) {
  for (unsigned i = 0; i < threadIdx.x % 2; ++i) (void)load<1>(p.global + threadIdx.x);
}

void expect_global(const Counters& c, uint64_t bytes, uint64_t sectors) {
  REQUIRE(c.global_bytes == bytes && c.sectors == sectors && c.wavefronts == 0);
}
void expect_shared(const Counters& c, uint64_t wavefronts, uint64_t ideal) {
  REQUIRE(c.wavefronts == wavefronts && c.ideal_wavefronts == ideal && c.global_bytes == 0);
}

}  // namespace
}  // namespace pyformer::cuda

void test_counters() {
  using namespace pyformer::cuda;
  expect_global(counted(read_global<1>, 1), 128, 4);
  expect_global(counted(read_global<4>, 4), 512, 16);
  expect_global(counted(read_global<1>, 1, 1), 128, 5);  // not aligned
  expect_global(counted(read_global<1>, 8), 128, 32);    // a sector a lane
  expect_global(counted(read_global<1>, 0), 128, 1);
  expect_global(counted(some_lanes, 0), 64, 4);
  expect_shared(counted(write_shared<1>, 1), 1, 1);
  expect_shared(counted(write_shared<1>, 0), 1, 1);
  expect_shared(counted(write_shared<1>, 2), 2, 1);
  expect_shared(counted(write_shared<1>, 32), 32, 1);
  expect_shared(counted(write_shared<1>, 33), 1, 1);  // padded
  expect_shared(counted(write_shared<2>, 2), 2, 2);
  expect_shared(counted(write_shared<4>, 4), 4, 4);
  expect_shared(counted(write_shared<4>, 32), 32, 4);
}
