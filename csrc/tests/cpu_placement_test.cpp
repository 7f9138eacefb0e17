#include "pyformer/base/cpu_placement.h"

#include <atomic>
#include <thread>

#include "check.h"
#include "pyformer/base/thread_pool.h"

#ifdef __linux__
#include <sched.h>
#endif

using namespace pyformer;

#ifdef __linux__
static bool same_mask(int thread, const cpu_set_t& expected) {
  cpu_set_t now;
  return sched_getaffinity(thread, sizeof now, &now) == 0 && CPU_EQUAL(&now, &expected);
}

// The kernel may move a thread at any time: once is enough.
template <class F>
static bool ever(const F& f) {
  for (int i = 0; i < 100; ++i)
    if (f()) return true;
  return false;
}

void test_cpu_placement() {
  expect(run_time_ns(thread_id()) >= 0, "a thread has run");
  expect(run_time_ns(1 << 23) == -1, "there is no such thread");  // beyond the highest id
  leave_cpu(-1);
  move_to_current_cpu(1 << 23);
  if (detail::usable_cpus() < 2) return;

  cpu_set_t mask;
  expect(sched_getaffinity(0, sizeof mask, &mask) == 0, "affinity");
  expect(ever([] {
           const int cpu = current_cpu();
           leave_cpu(cpu);
           return current_cpu() != cpu;
         }),
         "a thread leaves its CPU");
  expect(same_mask(0, mask), "leave_cpu gives the affinity back");

  std::atomic<int> id{0}, other_cpu{-1};
  std::atomic<bool> stop{false};
  std::thread other([&] {
    id = thread_id();
    while (!stop) other_cpu = current_cpu();
  });
  while (other_cpu < 0) std::this_thread::yield();
  const bool moved = ever([&] {
    const int here = current_cpu();
    move_to_current_cpu(id);
    other_cpu = -1;
    while (other_cpu < 0) std::this_thread::yield();
    return other_cpu == here;
  });
  const bool kept = same_mask(id, mask);
  stop = true;
  other.join();
  expect(moved, "a thread is moved here");
  expect(kept, "move_to_current_cpu gives the affinity back");

  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(current_cpu(), &one);
  expect(sched_setaffinity(0, sizeof one, &one) == 0, "affinity");
  leave_cpu(current_cpu());
  const bool pinned = same_mask(0, one);
  sched_setaffinity(0, sizeof mask, &mask);
  expect(pinned, "a thread that may not run elsewhere stays");
}
#else
void test_cpu_placement() { expect(run_time_ns(thread_id()) == -1, "unknown here"); }
#endif
