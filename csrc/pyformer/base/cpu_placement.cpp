#include "pyformer/base/cpu_placement.h"

#ifdef __linux__
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#endif

namespace pyformer {

#ifdef __linux__

int thread_id() { return static_cast<int>(syscall(SYS_gettid)); }
int current_cpu() { return sched_getcpu(); }

// Sets a thread's affinity to choose(allowed), which makes the scheduler move it, then sets it back to `allowed`.
template <class Choose>
static void move_thread(int thread, const Choose& choose) {
  cpu_set_t allowed;
  if (sched_getaffinity(thread, sizeof allowed, &allowed) != 0) return;
  const cpu_set_t wanted = choose(allowed);
  if (CPU_COUNT(&wanted) == 0 || sched_setaffinity(thread, sizeof wanted, &wanted) != 0) return;
  sched_setaffinity(thread, sizeof allowed, &allowed);
}

void leave_cpu(int cpu) {
  if (cpu < 0 || cpu >= CPU_SETSIZE || current_cpu() != cpu) return;
  move_thread(0, [cpu](cpu_set_t allowed) {
    CPU_CLR(cpu, &allowed);
    return allowed;
  });
}

int64_t run_time_ns(int thread) {
  // linux/posix-timers.h: the id of a thread's clock is the complement of the thread's id, shifted, and these bits.
  constexpr unsigned kThreadRunTime = 6;
  const auto clock = static_cast<clockid_t>((~static_cast<unsigned>(thread) << 3) | kThreadRunTime);
  timespec t;
  return clock_gettime(clock, &t) == 0 ? int64_t(t.tv_sec) * 1'000'000'000 + t.tv_nsec : -1;
}

void move_to_current_cpu(int thread) {
  const int cpu = current_cpu();
  if (cpu < 0 || cpu >= CPU_SETSIZE) return;
  move_thread(thread, [cpu](const cpu_set_t& allowed) {
    cpu_set_t here;
    CPU_ZERO(&here);
    if (CPU_ISSET(cpu, &allowed)) CPU_SET(cpu, &here);
    return here;
  });
}

#else

int thread_id() { return 0; }
int current_cpu() { return -1; }
void leave_cpu(int) {}
int64_t run_time_ns(int) { return -1; }
void move_to_current_cpu(int) {}

#endif

}  // namespace pyformer
