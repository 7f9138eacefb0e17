#include "pyformer/base/thread_pool.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <mutex>
#include <system_error>
#include <thread>

#include "pyformer/base/cgroup.h"
#include "pyformer/base/cpu_placement.h"
#include "pyformer/base/error.h"
#include "pyformer/base/float_mode.h"

#ifdef __linux__
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace pyformer {
namespace {

constexpr int kMaxThreads = 1024;
constexpr int64_t kPollInterval_ns = 50'000'000;
constexpr int64_t kIdleSpin_ns = 50'000;
constexpr int64_t kOwnerSpin_ns = 20'000;
constexpr int64_t kStall_ns = 30'000;  // a thread that has work but used no CPU time for so long waits for a CPU

// ---- small tools ----------------------------------------------------------------------------------------------

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void cpu_relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Sleeps while word == seen; may return early.
void sleep_while(std::atomic<uint32_t>& word, uint32_t seen) {
#ifdef __linux__
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
#else
  word.wait(seen);
#endif
}

void wake_sleepers(std::atomic<uint32_t>& word, int count) {
#ifdef __linux__
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
#else
  count == 1 ? word.notify_one() : word.notify_all();
#endif
}

// Spins until done() or about `limit_ns` have passed; returns whether done() was seen.
template <class Done>
bool spin_until(int64_t limit_ns, const Done& done) {
  if (done()) return true;
  const int64_t stop_ns = now_ns() + limit_ns;
  do {
    for (int i = 0; i < 16; ++i) {
      cpu_relax();
      if (done()) return true;
    }
  } while (now_ns() < stop_ns);
  return false;
}

// Waits for done() for kStall_ns more. If `thread`, which done() depends on, used almost no CPU time meanwhile, moves
// it to this CPU.
template <class Done>
bool wait_or_make_way(int thread, const Done& done) {
  const int64_t before_ns = run_time_ns(thread);
  if (spin_until(kStall_ns, done)) return true;
  if (before_ns >= 0 && run_time_ns(thread) - before_ns < kStall_ns / 8) move_to_current_cpu(thread);
  return done();
}

// ---- the number of threads ------------------------------------------------------------------------------------

std::atomic<int> thread_count{0};  // 0: not decided yet

// The value of a variable if it is a whole number from 1 to 1024, else 0. A list ("4,2") counts as its first item.
int positive_integer(const char* text, bool list_allowed) {
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  const bool complete = end != text && (*end == 0 || (list_allowed && *end == ','));
  return complete && value >= 1 && value <= kMaxThreads ? static_cast<int>(value) : 0;
}

}  // namespace

int detail::usable_cpus() {
  int cpus = static_cast<int>(std::thread::hardware_concurrency());
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(getpid(), sizeof set, &set) == 0) cpus = CPU_COUNT(&set);  // not of a thread of its own
#endif
  if (const int quota = detail::cgroup_cpus("")) cpus = std::min(cpus, quota);
  return std::clamp(cpus, 1, kMaxThreads);
}

namespace {

int default_threads() {
  if (const char* text = std::getenv("PYFORMER_NUM_THREADS"); text && *text) {
    if (const int count = positive_integer(text, false)) return count;
    throw ValueError(cat("PYFORMER_NUM_THREADS must be a whole number from 1 to ", kMaxThreads, ", got '", text, "'"));
  }
  if (const char* text = std::getenv("OMP_NUM_THREADS"); text && *text)
    if (const int count = positive_integer(text, true)) return count;
  return detail::usable_cpus();
}

// ---- interrupts -----------------------------------------------------------------------------------------------

struct ThreadState {
  int64_t last_poll_ns = 0;
  int deferred = 0;
  bool inside = false;  // runs a piece
  int id = 0;           // 0: not asked for yet
};
thread_local ThreadState this_thread;

std::atomic<InterruptCallback> interrupt_callback{nullptr};

bool interrupted() {
  const InterruptCallback callback = interrupt_callback.load(std::memory_order_relaxed);
  if (!callback || this_thread.deferred) return false;
  const int64_t now = now_ns();
  if (now - this_thread.last_poll_ns < kPollInterval_ns) return false;
  this_thread.last_poll_ns = now;
  return callback();
}

int this_thread_id() {
  if (!this_thread.id) this_thread.id = thread_id();
  return this_thread.id;
}

class InsidePiece {
 public:
  InsidePiece() { this_thread.inside = true; }
  ~InsidePiece() { this_thread.inside = false; }
};

// ---- jobs -----------------------------------------------------------------------------------------------------

// One parallel_for. Jobs live in the pool and are reused, never freed, so a worker that leaves a finished job
// touches valid memory. A worker may read the fields only between join() and leave().
struct alignas(128) Job {
  // state: kOpen while workers may join, kOwnerSleeps while the owner waits in the kernel, and how many are inside.
  static constexpr uint32_t kOpen = 1u << 31, kOwnerSleeps = 1u << 30, kInside = kOwnerSleeps - 1;

  std::atomic<uint32_t> state{0};
  detail::PieceFunction function = nullptr;
  const void* body = nullptr;
  int64_t count = 0, grain = 0, pieces = 0;
  std::atomic<bool> failed{false};
  std::exception_ptr error;
  int owner_cpu = -1;            // where the owner began
  std::atomic<int> owner_id{0};  // its thread; read by workers outside too
  // The pieces are divided into parts, one a thread. A thread has the same part in all jobs of one size, so it finds
  // what it wrote in one loop in its own caches in the next. A thread that has finished its part takes pieces of
  // others.
  struct alignas(64) Part {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
    bool is_left() const { return next.load(std::memory_order_relaxed) < end; }
  };
  static constexpr int kParts = 64;
  Part parts[kParts];
  int part_count = 0;

  void divide(int64_t wanted_pieces, int threads) {
    pieces = wanted_pieces;
    part_count = std::min(threads, kParts);
    const int64_t each = pieces / part_count, more = pieces % part_count;
    for (int64_t p = 0; p < part_count; ++p) {
      parts[p].next.store(p * each + std::min(p, more), std::memory_order_relaxed);
      parts[p].end = (p + 1) * each + std::min(p + 1, more);
    }
  }

  bool has_pieces() const {
    return std::any_of(parts, parts + part_count, [](const Part& part) { return part.is_left(); });
  }
  void cancel() {
    for (int p = 0; p < part_count; ++p) parts[p].next.store(parts[p].end, std::memory_order_relaxed);
  }

  // The next piece for the thread whose part is `own`, or -1.
  int64_t take(int own) {
    for (int tried = 0; tried < part_count; ++tried) {
      Part& part = parts[(own + tried) % part_count];
      if (!part.is_left()) continue;
      const int64_t piece = part.next.fetch_add(1, std::memory_order_relaxed);
      if (piece < part.end) return piece;
    }
    return -1;
  }

  // Runs one piece; false if none is left.
  bool run_next(int own) {
    const int64_t i = take(own);
    if (i < 0) return false;
    try {
      function(body, i * grain, i + 1 < pieces ? (i + 1) * grain : count);
    } catch (...) {
      fail();
    }
    return true;
  }

  void fail() {
    if (!failed.exchange(true, std::memory_order_relaxed)) error = std::current_exception();
    cancel();
  }

  bool join() {
    uint32_t seen = state.load(std::memory_order_relaxed);
    while (seen & kOpen)
      if (state.compare_exchange_weak(seen, seen + 1, std::memory_order_acquire, std::memory_order_relaxed))
        return true;
    return false;
  }

  void leave() {
    const uint32_t seen = state.fetch_sub(1, std::memory_order_acq_rel);
    if ((seen & kInside) == 1 && (seen & kOwnerSleeps)) wake_sleepers(state, 1);
  }

  bool empty() const { return (state.load(std::memory_order_acquire) & kInside) == 0; }
  void close() { state.fetch_and(~kOpen, std::memory_order_acq_rel); }

  // Sleeps until a closed job is empty.
  void sleep_until_empty() {
    uint32_t seen = state.fetch_or(kOwnerSleeps, std::memory_order_acq_rel) | kOwnerSleeps;
    while (seen & kInside) {
      sleep_while(state, seen);
      seen = state.load(std::memory_order_acquire);
    }
  }
};

class Pool {
 public:
  // Takes a free job and returns its index, or -1.
  int take_job() {
    uint64_t taken = taken_.load(std::memory_order_relaxed);
    while (~taken) {
      const int index = __builtin_ctzll(~taken);
      if (taken_.compare_exchange_weak(taken, taken | bit(index), std::memory_order_acquire)) return index;
    }
    return -1;
  }
  void release_job(int index) { taken_.fetch_and(~bit(index), std::memory_order_release); }
  Job& job(int index) { return jobs_[index]; }

  // Offers a filled job to the workers.
  void publish(int index, int helpers_wanted) {
    jobs_[index].state.store(Job::kOpen, std::memory_order_release);
    open_.fetch_or(bit(index));
    wake(helpers_wanted - spinning_.load());
  }
  // Takes the job off the list of those that workers look at. Only its owner, or a worker inside it, may call this.
  void withdraw(int index) {
    if (open_.load(std::memory_order_relaxed) & bit(index)) open_.fetch_and(~bit(index));
  }

  // Lets no more workers into the job and waits for those that are inside.
  void close(int index) {
    Job& job = jobs_[index];
    job.close();
    const auto empty = [&] { return job.empty(); };
    if (spin_until(kOwnerSpin_ns, empty)) return;
    for (int worker = 0; worker < started_.load(std::memory_order_relaxed); ++worker)
      if (workers_[worker].job.load(std::memory_order_relaxed) == index &&
          wait_or_make_way(workers_[worker].id.load(std::memory_order_relaxed), empty))
        return;
    job.sleep_until_empty();
  }

  // Starts workers until there are `wanted`. If another thread is starting workers, returns without waiting for it.
  void grow(int wanted) {
    if (started_.load(std::memory_order_relaxed) >= wanted || refused_.load(std::memory_order_relaxed)) return;
    std::unique_lock lock(start_mutex_, std::try_to_lock);
    if (!lock) return;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);  // a new thread inherits the mask
    try {
      for (int index = started_.load(); index < wanted; ++index) {
        std::thread(&Pool::work, this, index).detach();
        started_.store(index + 1);
      }
    } catch (const std::system_error&) {  // the system's limit on threads: work with those there are
      refused_.store(true);
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  // How many threads work on a job that has pieces for `wanted`: no more than there are CPUs, for which they would
  // only compete.
  int workforce(int64_t wanted) const { return static_cast<int>(std::min<int64_t>({wanted, num_threads(), cpus_})); }

  void thread_count_changed() {
    refused_.store(false);
    wake_.fetch_add(1);
    wake_sleepers(wake_, kMaxThreads);
    parked_.fetch_add(1);
    wake_sleepers(parked_, kMaxThreads);
  }

 private:
  static constexpr int kJobs = 64;
  static uint64_t bit(int index) { return uint64_t(1) << index; }
  static bool surplus(int worker) { return worker >= thread_count.load() - 1; }

  void work(int worker) {
    const DefaultFloatMode mode;
    this_thread.inside = true;
    workers_[worker].id.store(this_thread_id(), std::memory_order_relaxed);
    bool woken = false;
    for (;;) {
      if (surplus(worker)) park(worker);
      const int index = join_any(worker);
      if (index >= 0) {
        if (woken && jobs_[index].has_pieces()) wake(2);  // sleepers wake each other: no caller wakes them all
        leave_cpu(jobs_[index].owner_cpu);
        workers_[worker].job.store(index, std::memory_order_relaxed);
        help(worker, index);
        workers_[worker].job.store(-1, std::memory_order_relaxed);
      }
      woken = index < 0 && idle(worker);
    }
  }

  // Joins an open job and returns its index, or -1. Workers begin the search at different jobs.
  int join_any(int worker) {
    uint64_t open = open_.load(std::memory_order_relaxed);
    const int first = worker % kJobs;
    while (open) {
      const uint64_t later = open & (~uint64_t(0) << first);
      const int index = __builtin_ctzll(later ? later : open);
      if (jobs_[index].join()) return index;
      open &= ~bit(index);
    }
    return -1;
  }

  void help(int worker, int index) {
    {
      const DefaultFloatMode mode;
      while (jobs_[index].run_next(worker + 1)) {
      }
    }
    withdraw(index);
    jobs_[index].leave();
  }

  // Waits until there may be something to do; returns whether it slept.
  bool idle(int worker) {
    const auto wanted = [&] { return open_.load(std::memory_order_relaxed) != 0 || surplus(worker); };
    spinning_.fetch_add(1);
    const bool found = spin_until(kIdleSpin_ns, wanted) || wait_for_owner(wanted);
    spinning_.fetch_sub(1);
    if (found) return false;
    // These operations are sequentially consistent, so either publish() sees this sleeper or the sleeper sees the job.
    const uint32_t seen = wake_.load();
    sleeping_.fetch_add(1);
    if (open_.load() == 0 && !surplus(worker)) sleep_while(wake_, seen);
    sleeping_.fetch_sub(1);
    return true;
  }

  // The owner of a job may be waiting for a CPU in the middle of its last piece: gives it this thread's.
  template <class Wanted>
  bool wait_for_owner(const Wanted& wanted) {
    const uint64_t taken = taken_.load(std::memory_order_acquire);
    if (!taken) return false;
    return wait_or_make_way(jobs_[__builtin_ctzll(taken)].owner_id.load(std::memory_order_relaxed), wanted);
  }

  void park(int worker) {
    for (;;) {
      const uint32_t seen = parked_.load();
      if (!surplus(worker)) return;
      sleep_while(parked_, seen);
    }
  }

  void wake(int count) {
    if (count <= 0 || sleeping_.load() == 0) return;
    wake_.fetch_add(1);
    wake_sleepers(wake_, std::min(count, 2));
  }

  const int cpus_ = detail::usable_cpus();
  alignas(128) std::atomic<uint64_t> open_{0};  // jobs that may have pieces left; what idle workers watch
  alignas(128) std::atomic<uint64_t> taken_{0};
  alignas(128) std::atomic<int> spinning_{0};
  std::atomic<int> sleeping_{0};
  std::atomic<uint32_t> wake_{0}, parked_{0};
  alignas(128) std::atomic<int> started_{0};
  std::atomic<bool> refused_{false};
  std::mutex start_mutex_;
  Job jobs_[kJobs];
  struct Worker {
    std::atomic<int> id{0}, job{-1};  // its thread, and the job that it is inside of
  };
  Worker workers_[kMaxThreads];
};

// Never freed: workers may use it until the process ends. A forked child has no workers and begins a new one.
std::atomic<Pool*> current_pool{nullptr};
[[maybe_unused]] const int fork_handler = pthread_atfork(nullptr, nullptr, [] {
  current_pool.store(nullptr, std::memory_order_relaxed);
  this_thread.id = 0;
});

Pool& pool() {
  Pool* found = current_pool.load(std::memory_order_acquire);
  if (found) return *found;
  Pool* made = new Pool;
  if (current_pool.compare_exchange_strong(found, made, std::memory_order_acq_rel)) return *made;
  delete made;
  return *found;
}

// The caller's hold on a job. The destructor runs on every way out, thread exit from within the interrupt callback
// included: workers never outlive the body they run.
class OwnedJob {
 public:
  OwnedJob(Pool& pool, int index) : pool_(pool), job_(pool.job(index)), index_(index) {}
  ~OwnedJob() { finish(); }

  void finish() {
    if (index_ < 0 || forked()) return;
    job_.cancel();
    pool_.withdraw(index_);
    pool_.close(index_);
    error_ = std::move(job_.error);
    job_.error = nullptr;
    pool_.release_job(index_);
    index_ = -1;
  }
  const std::exception_ptr& error() const { return error_; }
  // Whether this is the child of a fork made inside the loop: its workers do not exist here.
  bool forked() const { return current_pool.load(std::memory_order_relaxed) != &pool_; }

 private:
  Pool& pool_;
  Job& job_;
  int index_;
  std::exception_ptr error_;
};

void run_serially(int64_t count, int64_t grain, detail::PieceFunction function, const void* body) {
  for (int64_t begin = 0; begin < count; begin += std::min(grain, count - begin))
    function(body, begin, begin + std::min(grain, count - begin));
}

void run_inline(int64_t count, int64_t grain, detail::PieceFunction function, const void* body) {
  const DefaultFloatMode mode;
  for (int64_t begin = 0; begin < count; begin += std::min(grain, count - begin)) {
    if (interrupted()) throw Interrupted("interrupted");
    const InsidePiece inside;
    function(body, begin, begin + std::min(grain, count - begin));
  }
}

}  // namespace

namespace detail {

int cgroup_cpus(const std::string& root) {
  double fewest = 0;
  for (const std::string& folder : cgroup_folders(root, "cpu")) {
    double quota = 0, period = 0;  // stay 0 where a file is missing or says "max"
    std::ifstream v2(folder + "/cpu.max");
    if (!(v2 >> quota >> period)) {
      quota = period = 0;
      std::ifstream(folder + "/cpu.cfs_quota_us") >> quota;  // -1: no limit
      std::ifstream(folder + "/cpu.cfs_period_us") >> period;
    }
    if (quota > 0 && period > 0) fewest = fewest > 0 ? std::min(fewest, quota / period) : quota / period;
  }
  const double rounded = std::min(fewest, double(kMaxThreads));
  const int whole = static_cast<int>(rounded);
  return whole + (rounded > whole);
}

void run_pieces(int64_t count, int64_t grain, PieceFunction function, const void* body) {
  if (grain < 1) throw ValueError(cat("parallel_for: grain must be at least 1, got ", grain));
  if (count <= 0) return;
  if (this_thread.inside) return run_serially(count, grain, function, body);
  const int64_t pieces = (count - 1) / grain + 1;
  const int threads = pieces == 1 ? 1 : pool().workforce(pieces);
  if (threads == 1) return run_inline(count, grain, function, body);

  if (interrupted()) throw Interrupted("interrupted");
  Pool& p = pool();
  const int index = p.take_job();
  if (index < 0) return run_inline(count, grain, function, body);
  p.grow(threads - 1);

  Job& job = p.job(index);
  job.function = function;
  job.body = body;
  job.count = count;
  job.grain = grain;
  job.divide(pieces, threads);
  job.owner_cpu = current_cpu();
  job.owner_id.store(this_thread_id(), std::memory_order_relaxed);
  job.failed.store(false, std::memory_order_relaxed);

  OwnedJob owned(p, index);
  const DefaultFloatMode mode;
  p.publish(index, threads - 1);
  for (bool more = true; more;) {
    {
      const InsidePiece inside;
      more = job.run_next(0);
    }
    if (more && interrupted()) {
      owned.finish();
      throw Interrupted("interrupted");
    }
  }
  if (owned.forked()) throw std::runtime_error("parallel_for: forked inside a parallel loop");
  owned.finish();
  if (owned.error()) std::rethrow_exception(owned.error());
}

}  // namespace detail

int num_threads() {
  const int count = thread_count.load(std::memory_order_relaxed);
  if (count) return count;
  int undecided = 0;
  const int decided = default_threads();
  return thread_count.compare_exchange_strong(undecided, decided) ? decided : undecided;
}

void set_num_threads(int count) {
  if (count < 1 || count > kMaxThreads)
    throw ValueError(cat("set_num_threads: count must be from 1 to ", kMaxThreads, ", got ", count));
  if (thread_count.exchange(count) == count) return;
  if (Pool* p = current_pool.load(std::memory_order_acquire)) p->thread_count_changed();
}

void set_interrupt_callback(InterruptCallback callback) { interrupt_callback.store(callback); }

void check_interrupt() {
  this_thread.last_poll_ns = now_ns() - kPollInterval_ns;
  if (interrupted()) throw Interrupted("interrupted");
}

DeferInterrupts::DeferInterrupts() { ++this_thread.deferred; }
DeferInterrupts::~DeferInterrupts() { --this_thread.deferred; }

}  // namespace pyformer
