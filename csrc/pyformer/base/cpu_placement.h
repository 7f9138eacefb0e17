// Which CPU a thread of ours runs on, where the kernel's choice costs a step dearly. On other systems than Linux, and
// where the system refuses, nothing happens.
//
// Beside a busy program on two CPUs the kernel tends to put a worker that it wakes on the caller's CPU: there the two
// take turns, and the program has the other CPU to itself. And it stops one of our threads for milliseconds in the
// middle of a piece, for which all others soon wait while their CPUs idle. So a worker leaves the caller's CPU, and
// who waits for a thread that gets no CPU gives it its own.
#pragma once
#include <cstdint>

namespace pyformer {

int thread_id();  // the kernel's, of this thread; asked for at each call
int current_cpu();
// Moves this thread off the CPU, if it is on it and may run elsewhere.
void leave_cpu(int cpu);
// The time for which a thread of this process has run, or -1.
int64_t run_time_ns(int thread);
// Moves another thread of this process to this thread's CPU, if it may run there; it may move on at once.
void move_to_current_cpu(int thread);

}  // namespace pyformer
