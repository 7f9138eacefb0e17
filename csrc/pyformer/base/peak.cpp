#include "pyformer/base/peak.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "pyformer/base/allocator.h"
#include "pyformer/base/cpu_placement.h"
#include "pyformer/base/error.h"
#include "pyformer/base/isa.h"
#include "pyformer/base/peak_kernels.h"
#include "pyformer/base/thread_pool.h"

namespace pyformer {

static const PeakKernels& best_kernels() {
#if defined(PF_BUILT_X86)
  if (is_supported(Isa::avx512)) return peak_kernels<Isa::avx512>();
  if (is_supported(Isa::avx2)) return peak_kernels<Isa::avx2>();
#endif
  return peak_kernels<Isa::ref>();
}

static void check_threads(const char* op, int threads) {
  if (threads < 1 || threads > 1024) throw ValueError(cat(op, ": threads must be 1 to 1024, got ", threads));
}

// Runs body(thread) on each of `threads` threads; the seconds until the last is done. A new thread would start on this
// one's CPU, and may stay there for longer than the run takes.
template <class Body>
static double seconds_of(int threads, const Body& body) {
  const int cpu = current_cpu();
  const auto start = std::chrono::steady_clock::now();
  {
    std::vector<std::jthread> others;
    for (int t = 1; t < threads; ++t) others.emplace_back([&body, t, cpu] { leave_cpu(cpu), body(t); });
    body(0);
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

struct alignas(64) Sink {  // a cache line a thread
  double value;
};

double rounds_per_second(int threads, const std::function<void(int, int64_t)>& work) {
  constexpr int64_t kFirstRounds = 10'000;
  constexpr double kRun_s = 0.01;
  constexpr int kRuns = 10;
  check_threads("rounds_per_second", threads);
  const auto seconds_for = [&](int64_t rounds) {
    return seconds_of(threads, [&](int thread) { work(thread, rounds); });
  };
  const int64_t rounds = std::max(kFirstRounds, int64_t(kFirstRounds * kRun_s / seconds_for(kFirstRounds)));
  double best_s = 1e300;
  for (int run = 0; run < kRuns; ++run) best_s = std::min(best_s, seconds_for(rounds));
  return double(rounds) * threads / best_s;
}

double fma_peak_gflops(DType dtype, int threads) {
  if (dtype != DType::float32 && dtype != DType::float64)
    throw TypeError(cat("fma_peak_gflops: expected float32 or float64, got ", name(dtype)));
  const int index = dtype == DType::float64;
  check_threads("fma_peak_gflops", threads);
  const PeakKernels& kernels = best_kernels();
  std::vector<Sink> sinks(threads);
  const int64_t flops_a_round = 2 * FmaChains::kChains * kernels.register_bytes / item_bytes(dtype);
  return 1e-9 * double(flops_a_round) * rounds_per_second(threads, [&](int thread, int64_t rounds) {
           kernels.fma_chains[index]({0.5, 0.5, &sinks[thread].value}, 0, rounds);
         });
}

constexpr int64_t kMemoryBytes = int64_t(512) << 20;

// kMemoryBytes of the kind that Arrays live in, over the best of several passes of body(thread, buffer).
template <class Body>
static double gbps_over_memory(int threads, const Body& body) {
  constexpr int64_t bytes = kMemoryBytes;
  constexpr int kPasses = 5;
  const auto free_buffer = [](float* p) {
    deallocate(p, bytes);
    empty_cache();
  };
  const std::unique_ptr<float, decltype(free_buffer)> buffer(static_cast<float*>(allocate(bytes)), free_buffer);
  std::fill_n(buffer.get(), bytes / int64_t(sizeof(float)), 1.0f);
  double best_s = 1e300;
  for (int pass = 0; pass < kPasses; ++pass)
    best_s = std::min(best_s, seconds_of(threads, [&](int thread) { body(thread, buffer.get()); }));
  return 1e-9 * double(bytes) / best_s;
}

double read_bandwidth_gbps(int threads) {
  constexpr int64_t kBlocks = kMemoryBytes / ReadSum::kBlockBytes;
  check_threads("read_bandwidth_gbps", threads);
  std::vector<Sink> sinks(threads);
  return gbps_over_memory(threads, [&](int thread, float* buffer) {
    best_kernels().read_sum({buffer, reinterpret_cast<float*>(&sinks[thread].value)}, kBlocks * thread / threads,
                            kBlocks * (thread + 1) / threads);
  });
}

double copy_bandwidth_gbps(int threads) {
  check_threads("copy_bandwidth_gbps", threads);
  constexpr int64_t kBlocks = kMemoryBytes / 2 / CopyBlocks::kBlockBytes;
  return gbps_over_memory(threads, [&](int thread, float* buffer) {
    best_kernels().copy_blocks({buffer, buffer + kMemoryBytes / 2 / int64_t(sizeof(float))}, kBlocks * thread / threads,
                               kBlocks * (thread + 1) / threads);
  });
}

// The time of a line's way to another thread and back, over so many trips or for as long as a run may take.
static double round_trip_once_ns(int64_t trips) {
  using Clock = std::chrono::steady_clock;
  static constexpr auto kLongest = std::chrono::milliseconds(20);  // other work may have the CPUs
  constexpr int kPolls = 1'000;
  alignas(64) std::atomic<int64_t> line{0};  // odd: it is the other thread's turn
  const std::jthread other([&line, cpu = current_cpu()](const std::stop_token& stop) {
    leave_cpu(cpu);
    while (!stop.stop_requested())
      for (int poll = 0; poll < kPolls; ++poll)
        if (const int64_t seen = line.load(); seen % 2) line.store(seen + 1);
  });
  const auto trip = [&line] {
    line.store(line.load() | 1);
    const auto sent = Clock::now();
    do {
      for (int poll = 0; poll < kPolls; ++poll)
        if (line.load() % 2 == 0) return;
    } while (Clock::now() - sent < kLongest);
  };
  trip();  // the thread starts
  const auto start = Clock::now();
  int64_t made = 0;
  for (bool is_late = false; made < trips && !is_late; ++made) {
    trip();
    is_late = made % 64 == 0 && Clock::now() - start > kLongest;
  }
  return std::chrono::duration<double, std::nano>(Clock::now() - start).count() / double(made);
}

double round_trip_ns() {
  constexpr int kRuns = 9;
  if (detail::usable_cpus() < 2) return 0;
  double runs[kRuns];
  for (double& run : runs) run = round_trip_once_ns(2'000);
  std::nth_element(runs, runs + kRuns / 2, runs + kRuns);
  return runs[kRuns / 2];
}

}  // namespace pyformer
