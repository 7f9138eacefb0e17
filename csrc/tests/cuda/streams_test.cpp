// Streams as queues that are worked off only when somebody waits for them: a wait that is missing between two streams
// is seen in what the second one computes.
#include <deque>
#include <map>

#include "pyformer/cuda/launch.h"
#include "tests/cuda/schedules.h"

namespace pyformer::cuda {
namespace {

struct Add {
  const float* in;
  float* out;
};
__global__ void add_one(const Add a) { a.out[threadIdx.x] = a.in[threadIdx.x] + 1; }

std::map<void*, std::deque<std::function<void()>>> queues;

void wait_for(void* stream) {
  for (auto& queue = queues[stream]; !queue.empty(); queue.pop_front()) queue.front()();
}

// b = a + 1 on one stream, c = b + 1 on another; then the second one is waited for.
std::vector<float> on_two_streams(bool the_second_waits) {
  const auto before = emulated::submit;
  emulated::submit = [](void* stream, std::function<void()> work) { queues[stream].push_back(std::move(work)); };
  std::vector<float> a(32, 1), b(32, NAN), c(32, NAN);
  int places[2];
  const auto first = reinterpret_cast<cudaStream_t>(&places[0]), second = reinterpret_cast<cudaStream_t>(&places[1]);
  launch(add_one, 1, 32, 0, first, Add{a.data(), b.data()});
  if (the_second_waits) emulated::submit(second, [=] { wait_for(first); });
  launch(add_one, 1, 32, 0, second, Add{b.data(), c.data()});
  REQUIRE(std::isnan(c[0]));  // nothing has run
  wait_for(second);
  wait_for(first);
  emulated::submit = before;
  return c;
}

}  // namespace
}  // namespace pyformer::cuda

void test_streams() {
  using namespace pyformer;
  using namespace pyformer::cuda;
  for (const float x : on_two_streams(true)) REQUIRE(x == 3);
  for (const float x : on_two_streams(false)) REQUIRE(std::isnan(x));
}
