// Loops in parallel on the library's own threads. Work is handed out in small pieces, so a busy neighbour on one
// core delays a piece, not a step; which thread runs a piece never changes what is computed.
//
// Workers start at the first loop that wants them, block all signals, spin for some 50 us when idle and then sleep.
// Several threads may call at once: each call is a job of its own, workers help whichever job has pieces left, and
// a caller waits only for pieces of its own job. A forked child starts with no workers and makes its own.
// Pieces run in the default floating-point mode; the caller's is given back.
#pragma once
#include <cstdint>
#include <string>

namespace pyformer {

// PYFORMER_NUM_THREADS, else OMP_NUM_THREADS, else the CPUs this process may use (affinity, cgroup quota rounded
// up); decided at the first call. ValueError if PYFORMER_NUM_THREADS is not a number from 1 to 1024.
int num_threads();
// Any thread may call it at any time; loops that already run keep their workers. ValueError unless 1 <= count <= 1024.
// Work is cut for that many threads, but no more of them run at once than this process had CPUs at its first loop.
void set_num_threads(int count);

// Returns true to stop. The outermost caller of a loop polls it between pieces, at most every 50 ms, on whichever
// thread that is; the loop then starts no more pieces, waits for running ones and throws Interrupted.
using InterruptCallback = bool (*)();
void set_interrupt_callback(InterruptCallback callback);
// Polls now: for operations that write in place, before they start.
void check_interrupt();
// While one lives, loops of this thread do not poll: a write in place is never left half done.
class DeferInterrupts {
 public:
  DeferInterrupts();
  ~DeferInterrupts();
  DeferInterrupts(const DeferInterrupts&) = delete;
  DeferInterrupts& operator=(const DeferInterrupts&) = delete;
};

namespace detail {
using PieceFunction = void (*)(const void* body, int64_t begin, int64_t end);
void run_pieces(int64_t count, int64_t grain, PieceFunction function, const void* body);
// The CPUs that this process may use by affinity and quotas, at least 1.
int usable_cpus();
// The CPUs that cgroup quotas leave (rounded up, at least 1), or 0 if there is none. root stands before /proc, /sys.
int cgroup_cpus(const std::string& root);
}  // namespace detail

// Calls body(begin, end) for pieces [i * grain, min((i + 1) * grain, count)) and returns when all are done. Each thread
// has a contiguous part of them, walks it in increasing order, and then helps with the parts of others. The first
// exception out of a piece is rethrown here and pieces not yet started are dropped. Inside a piece, and for one piece
// or one thread, the loop is serial in the calling thread.
template <class Body>
void parallel_for(int64_t count, int64_t grain, const Body& body) {
  detail::run_pieces(
      count, grain, [](const void* b, int64_t begin, int64_t end) { (*static_cast<const Body*>(b))(begin, end); },
      &body);
}

// body() in the default floating-point mode, for numbers that are computed outside of a loop.
template <class Body>
void in_default_float_mode(const Body& body) {
  parallel_for(1, 1, [&](int64_t, int64_t) { body(); });
}

}  // namespace pyformer
