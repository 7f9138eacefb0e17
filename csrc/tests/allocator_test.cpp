#include "pyformer/base/allocator.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "pyformer/base/error.h"
#include "require.h"

namespace {

using namespace pyformer;

constexpr int64_t kMiB = int64_t(1) << 20;

// Sanitizers do not survive a fork while other threads run.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

bool caching() {
  const char* text = std::getenv("PYFORMER_ALLOCATOR");
  return !text || std::strcmp(text, "system") != 0;
}

bool aligned(const void* p) { return p && reinterpret_cast<uintptr_t>(p) % 64 == 0; }

void test_every_size_is_aligned_and_wastes_an_eighth_at_most() {
  std::vector<int64_t> sizes;
  for (int64_t bytes = 0; bytes <= 2000; ++bytes) sizes.push_back(bytes);
  for (int power = 11; power <= 25; ++power)
    for (int64_t eighth = 8; eighth < 16; ++eighth)
      for (int64_t off : {-1, 0, 1}) sizes.push_back((int64_t(1) << power) / 8 * eighth + off);
  for (int64_t bytes : sizes) {
    const MemoryStats before = memory_stats();
    char* p = static_cast<char*>(allocate(bytes));
    REQUIRE(aligned(p));
    const int64_t held = memory_stats().live_bytes - before.live_bytes;
    REQUIRE(held >= bytes && held > 0);
    REQUIRE(held - std::max<int64_t>(bytes, 1) < 64 || (held - bytes) * 8 <= bytes);
    REQUIRE(memory_stats().live_blocks == before.live_blocks + 1);
    if (bytes) p[0] = p[bytes - 1] = 1;
    deallocate(p, bytes);
    REQUIRE(memory_stats().live_bytes == before.live_bytes);
    REQUIRE(memory_stats().live_blocks == before.live_blocks);
  }
  void *a = allocate(0), *b = allocate(0);
  REQUIRE(a && b && a != b);
  deallocate(a, 0);
  deallocate(b, 0);
  deallocate(nullptr, 8);
}

void run_step() {
  std::vector<std::pair<void*, int64_t>> blocks;
  for (int i = 0; i < 40; ++i) {
    const int64_t bytes = i % 4 == 0 ? 3 * kMiB + i * 1000 : 100 + i * i * 50;
    blocks.emplace_back(allocate(bytes), bytes);
    if (i % 3 == 2) {
      deallocate(blocks[i / 2].first, blocks[i / 2].second);
      blocks[i / 2].first = nullptr;
    }
  }
  for (auto [p, bytes] : blocks) deallocate(p, bytes);
}

void test_second_step_asks_nothing() {
  run_step();
  const int64_t calls = memory_stats().system_calls;
  for (int i = 0; i < 10; ++i) run_step();
  REQUIRE(memory_stats().system_calls == calls);
}

void test_cache_is_bounded_and_emptied() {
  empty_cache();
  const MemoryStats base = memory_stats();
  REQUIRE(base.cached_bytes == 0);
  for (int64_t bytes = 40 * kMiB; bytes < 120 * kMiB; bytes += 4 * kMiB) deallocate(allocate(bytes), bytes);
  const MemoryStats after = memory_stats();
  REQUIRE(after.cached_bytes > 0);
  REQUIRE(after.cached_bytes <= 2 * (base.live_bytes + 128 * kMiB) + 64 * kMiB);
  empty_cache();
  REQUIRE(memory_stats().cached_bytes == 0);
}

void test_lasting_memory_lies_together_and_is_given_back() {
  const int64_t live = memory_stats().live_bytes;
  auto a = lasting_memory(100'000), b = lasting_memory(1), c = lasting_memory(5 * kMiB);
  for (const auto& p : {a, b, c}) REQUIRE(aligned(p.get()));
  REQUIRE(static_cast<char*>(b.get()) - static_cast<char*>(a.get()) == 25 * 4096);
  REQUIRE(memory_stats().live_bytes - live == 26 * 4096 + 5 * kMiB);
  std::memset(a.get(), 1, 100'000);
  a.reset(), b.reset(), c.reset();
  REQUIRE(memory_stats().live_bytes == live);
}

void test_peak() {
  reset_peak_memory();
  const int64_t live = memory_stats().live_bytes;
  REQUIRE(memory_stats().peak_bytes == live);
  deallocate(allocate(5 * kMiB), 5 * kMiB);
  REQUIRE(memory_stats().live_bytes == live);
  REQUIRE(memory_stats().peak_bytes - live >= 5 * kMiB);
}

template <class Error>
void require_refused(int64_t bytes) {
  bool thrown = false;
  try {
    allocate(bytes);
  } catch (const Error&) {
    thrown = true;
  }
  REQUIRE(thrown);
}

void test_absurd_sizes() {
  const MemoryStats before = memory_stats();
  for (int power : {44, 45, 46, 47, 50, 62}) require_refused<OutOfMemory>(int64_t(1) << power);
  require_refused<OutOfMemory>(INT64_MAX);
  require_refused<ValueError>(-1);
  require_refused<ValueError>(INT64_MIN);
  REQUIRE(memory_stats().live_bytes == before.live_bytes);
}

void test_threads() {
  const MemoryStats before = memory_stats();
  std::vector<std::thread> threads;
  std::atomic<int> bad{0};
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([t, &bad] {
      std::vector<std::pair<unsigned char*, int64_t>> mine;
      uint32_t random = 12345u + t;
      for (int i = 0; i < 3000; ++i) {
        random = random * 1664525u + 1013904223u;
        if (mine.size() > 20 || (!mine.empty() && random >> 31)) {
          auto [p, bytes] = mine[random % mine.size()];
          mine[random % mine.size()] = mine.back();
          mine.pop_back();
          if (p[0] != t || p[bytes - 1] != t) ++bad;
          deallocate(p, bytes);
        } else {
          const int64_t bytes = 1 + (random >> 8) % (i % 50 == 0 ? 2 * kMiB : 5000);
          auto* p = static_cast<unsigned char*>(allocate(bytes));
          p[0] = p[bytes - 1] = static_cast<unsigned char>(t);
          mine.emplace_back(p, bytes);
        }
      }
      for (auto [p, bytes] : mine) deallocate(p, bytes);
    });
  for (std::thread& t : threads) t.join();
  REQUIRE(bad == 0);
  REQUIRE(memory_stats().live_bytes == before.live_bytes);
  REQUIRE(memory_stats().live_blocks == before.live_blocks);
}

void test_fork_while_others_allocate() {
  if (kSanitized) return;
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&stop] {
      while (!stop) deallocate(allocate(1000), 1000);
    });
  bool ok = true;
  for (int i = 0; i < 20; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);
      for (int k = 0; k < 100; ++k) {
        void* p = allocate(1000 + k * 64);
        std::memset(p, 1, 1000);
        deallocate(p, 1000 + k * 64);
      }
      empty_cache();
      _exit(0);
    }
    int status = 1;
    ok = waitpid(child, &status, 0) == child && status == 0 && ok;
  }
  stop = true;
  for (std::thread& t : threads) t.join();
  REQUIRE(ok);
}

void test_guard_mode() {
  const int64_t base = guard_violations();
  unsigned char* before = static_cast<unsigned char*>(allocate(100));
  set_guard_mode(true);
  auto* a = static_cast<unsigned char*>(allocate(100));
  auto* b = static_cast<unsigned char*>(allocate(3 * kMiB + 1));
  auto* empty = static_cast<unsigned char*>(allocate(0));
  set_guard_mode(false);
  REQUIRE(aligned(a) && aligned(b) && aligned(empty));
  for (int i = 0; i < 100; ++i) REQUIRE(a[i] == 0xFF);
  REQUIRE(b[3 * kMiB] == 0xFF);
  std::memset(a, 0, 100);
  deallocate(before, 100);
  REQUIRE(guard_violations() == base);
  a[100] = 0;  // one past the end
  REQUIRE(guard_violations() == base + 1);
  deallocate(a, 100);
  REQUIRE(guard_violations() == base + 1);
  b[-1] = 0;
  deallocate(b, 3 * kMiB + 1);
  empty[0] = 1;
  REQUIRE(guard_violations() == base + 3);
  deallocate(empty, 0);
  REQUIRE(guard_violations() == base + 3);
}

}  // namespace

void test_allocator() {
  if (caching()) {
    test_every_size_is_aligned_and_wastes_an_eighth_at_most();
    test_second_step_asks_nothing();
    test_cache_is_bounded_and_emptied();
    empty_cache();
    test_lasting_memory_lies_together_and_is_given_back();
  }
  test_peak();
  test_absurd_sizes();
  test_threads();
  test_fork_while_others_allocate();
  test_guard_mode();
}
