#include "pyformer/base/peak.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "pyformer/base/allocator.h"
#include "pyformer/base/dispatch.h"
#include "pyformer/base/peak_kernels.h"

namespace pyformer {

static const PeakKernels& best_kernels() {
#if defined(PF_BUILT_X86)
  if (is_supported(Isa::avx512)) return peak_kernels<Isa::avx512>();
  if (is_supported(Isa::avx2)) return peak_kernels<Isa::avx2>();
#endif
  return peak_kernels<Isa::portable>();
}

static void check_threads(const char* op, int threads) {
  if (threads < 1 || threads > 1024) throw ValueError(cat(op, ": threads must be 1 to 1024, got ", threads));
}

// Runs body(thread) on each of `threads` threads; the seconds until the last is done.
template <class Body>
static double seconds_of(int threads, const Body& body) {
  const auto start = std::chrono::steady_clock::now();
  {
    std::vector<std::jthread> others;
    for (int t = 1; t < threads; ++t) others.emplace_back([&body, t] { body(t); });
    body(0);
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

struct alignas(64) Sink {  // a cache line a thread
  double value;
};

double fma_peak_gflops(DType dtype, int threads) {
  constexpr int64_t kFirstRounds = 10'000;
  constexpr double kRun_s = 0.01;
  constexpr int kRuns = 10;
  const int index = float_index("fma_peak_gflops", dtype);
  check_threads("fma_peak_gflops", threads);
  const PeakKernels& kernels = best_kernels();
  std::vector<Sink> sinks(threads);
  const auto seconds_for = [&](int64_t rounds) {
    return seconds_of(threads,
                      [&](int thread) { kernels.fma_chains[index]({0.5, 0.5, &sinks[thread].value}, 0, rounds); });
  };
  const int64_t rounds = std::max(kFirstRounds, int64_t(kFirstRounds * kRun_s / seconds_for(kFirstRounds)));
  double best_s = 1e300;
  for (int run = 0; run < kRuns; ++run) best_s = std::min(best_s, seconds_for(rounds));
  const int64_t flops_a_round = 2 * FmaChains::kChains * kernels.register_bytes / item_bytes(dtype);
  return 1e-9 * double(flops_a_round * rounds) * threads / best_s;
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

}  // namespace pyformer
