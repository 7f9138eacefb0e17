// Moves threads of the pool between CPUs. The thread pool corrects two choices of Linux's scheduler that make a
// parallel loop slow while another program is busy:
//
// - The scheduler often wakes a worker on the CPU of the thread that woke it, so the two share one CPU while the other
//   program has a CPU to itself. The worker therefore moves off that CPU (leave_cpu).
// - The scheduler takes the CPU from a thread for milliseconds in the middle of its piece, and the other threads then
//   wait for that piece. A thread that waits so moves the stopped thread to its own CPU (move_to_current_cpu).
//
// On other systems these functions do nothing; on Linux they do nothing where a call is not permitted.
#pragma once
#include <cstdint>

namespace pyformer {

int thread_id();  // Linux's id of this thread; one system call
int current_cpu();
// Moves this thread to another CPU if it runs on `cpu` and its affinity allows others.
void leave_cpu(int cpu);
// The CPU time that a thread of this process has used; -1 if it is not known.
int64_t run_time_ns(int thread);
// Moves another thread of this process to the CPU that this thread runs on, if the other's affinity allows it. The
// scheduler is free to move it again at once.
void move_to_current_cpu(int thread);

}  // namespace pyformer
