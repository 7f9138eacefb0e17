#include "pyformer/base/thread_pool.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "pyformer/base/error.h"
#include "require.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

using namespace pyformer;
using namespace std::chrono_literals;

// Sanitizers do not survive a fork while other threads run.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// Whether every index of [0, count) is visited once, in pieces as promised.
bool covers(int64_t count, int64_t grain) {
  std::vector<std::atomic<int>> seen(count);
  std::atomic<int> bad{0};
  parallel_for(count, grain, [&](int64_t begin, int64_t end) {
    if (begin % grain || end != std::min(begin + grain, count) || begin >= end) ++bad;
    for (int64_t i = begin; i < end; ++i) ++seen[i];
  });
  for (auto& s : seen)
    if (s != 1) return false;
  return bad == 0;
}

void test_pieces() {
  for (int threads : {1, 2, 3, 4, 9}) {
    set_num_threads(threads);
    REQUIRE(num_threads() == threads);
    for (int64_t count : {0, 1, 2, 3, 7, 64, 1000, 1001})
      for (int64_t grain : {1, 2, 3, 64, 5000}) REQUIRE(covers(count, grain));
    for (int i = 0; i < 300; ++i) REQUIRE(covers(i % 7, 1));
  }
  int64_t last = 0;
  parallel_for(INT64_MAX, INT64_MAX - 1, [&](int64_t, int64_t end) {
    if (end == INT64_MAX) last = end;
  });
  REQUIRE(last == INT64_MAX);
  bool refused = false;
  try {
    parallel_for(3, 0, [](int64_t, int64_t) {});
  } catch (const ValueError&) {
    refused = true;
  }
  REQUIRE(refused);
  for (int count : {0, -1, 1025}) {
    refused = false;
    try {
      set_num_threads(count);
    } catch (const ValueError&) {
      refused = true;
    }
    REQUIRE(refused);
  }
}

void test_workers_take_part() {
  set_num_threads(4);
  const int expected = std::min(4, detail::usable_cpus());
  std::mutex mutex;
  std::set<std::thread::id> threads;
  std::atomic<int> entered{0};
  std::atomic<bool> signals_open{false};
  const std::thread::id caller = std::this_thread::get_id();
  const auto deadline = std::chrono::steady_clock::now() + 60s;
  parallel_for(40, 1, [&](int64_t, int64_t) {
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    if (std::this_thread::get_id() != caller && !sigismember(&mask, SIGINT)) signals_open = true;
    {
      const std::lock_guard lock(mutex);
      threads.insert(std::this_thread::get_id());
      entered = int(threads.size());
    }
    // A busy machine may let a worker wait; without one, nobody gets past this before the deadline.
    while (entered < expected && std::chrono::steady_clock::now() < deadline) std::this_thread::sleep_for(1ms);
  });
  REQUIRE(int(threads.size()) == expected);
  REQUIRE(threads.count(caller) == 1);
  REQUIRE(!signals_open);
}

void test_nested_is_serial() {
  set_num_threads(4);
  std::atomic<int> bad{0}, total{0};
  parallel_for(20, 1, [&](int64_t, int64_t) {
    const std::thread::id outer = std::this_thread::get_id();
    int64_t expected = 0;
    parallel_for(50, 3, [&](int64_t begin, int64_t end) {
      if (std::this_thread::get_id() != outer || begin != expected) ++bad;
      expected = end;
      total += static_cast<int>(end - begin);
    });
  });
  REQUIRE(bad == 0);
  REQUIRE(total == 1000);
}

void test_exceptions() {
  for (int threads : {1, 4}) {
    set_num_threads(threads);
    for (int i = 0; i < 200; ++i) {
      std::atomic<int> started{0};
      std::string message;
      try {
        parallel_for(100000, 1, [&](int64_t begin, int64_t) {
          ++started;
          if (begin >= 20) throw IndexError("piece failed");
        });
      } catch (const IndexError& e) {
        message = e.what();
      }
      REQUIRE(message == "piece failed");
      REQUIRE(started >= 1 && started <= 20 + threads);  // each thread stops at its first failure
    }
    bool caught = false;
    try {
      parallel_for(10, 1, [](int64_t, int64_t) { throw 7; });
    } catch (int value) {
      caught = value == 7;
    }
    REQUIRE(caught);
    REQUIRE(covers(1000, 7));
  }
}

void test_many_callers() {
  set_num_threads(3);
  std::atomic<int> bad{0};
  std::vector<std::thread> callers;
  for (int t = 0; t < 8; ++t)
    callers.emplace_back([&bad, t] {
      for (int i = 0; i < 300; ++i)
        if (!covers(1 + (i * 7 + t) % 100, 1 + i % 5)) ++bad;
    });
  for (std::thread& t : callers) t.join();
  REQUIRE(bad == 0);
}

// A caller does not wait for another caller's long piece.
void test_callers_are_independent() {
  set_num_threads(2);
  std::atomic<bool> stop{false};
  std::atomic<int> running{0};
  std::thread slow([&] {
    parallel_for(2, 1, [&](int64_t, int64_t) {
      ++running;
      while (!stop) std::this_thread::sleep_for(1ms);
    });
  });
  while (running < std::min(2, detail::usable_cpus())) std::this_thread::sleep_for(1ms);
  const bool ok = covers(1000, 3);
  stop = true;
  slow.join();
  REQUIRE(ok);
}

void test_set_num_threads_any_time() {
  std::atomic<bool> stop{false};
  std::thread changer([&] {
    for (int i = 0; !stop; ++i) {
      set_num_threads(1 + i % 6);
      std::this_thread::sleep_for(100us);
    }
  });
  bool ok = true;
  for (int i = 0; i < 1500; ++i) ok = covers(1 + i % 200, 1 + i % 3) && ok;
  stop = true;
  changer.join();
  REQUIRE(ok);
}

bool in_child(bool (*check)()) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    _exit(check() ? 0 : 1);
  }
  int status = 1;
  return waitpid(child, &status, 0) == child && status == 0;
}

void test_fork() {
  if (kSanitized) return;
  set_num_threads(3);
  REQUIRE(covers(100, 1));
  REQUIRE(in_child([] { return covers(1000, 3) && in_child([] { return covers(1000, 3); }); }));
  REQUIRE(covers(100, 1));

  std::atomic<bool> stop{false};
  std::atomic<int> bad{0};
  std::vector<std::thread> callers;
  for (int t = 0; t < 2; ++t)
    callers.emplace_back([&] {
      while (!stop)
        if (!covers(50, 1)) ++bad;
    });
  bool ok = true;
  for (int i = 0; i < 20; ++i) {
    ok = in_child([] {
           for (int k = 0; k < 20; ++k)
             if (!covers(100, 1)) return false;
           return true;
         }) &&
         ok;
  }
  stop = true;
  for (std::thread& t : callers) t.join();
  REQUIRE(ok);
  REQUIRE(bad == 0);
}

void test_interrupt() {
  for (int threads : {1, 3}) {
    set_num_threads(threads);
    set_interrupt_callback([] { return true; });
    bool thrown = false;
    std::atomic<int> done{0};
    try {
      parallel_for(100000, 1, [&](int64_t, int64_t) {
        std::this_thread::sleep_for(1ms);
        ++done;
      });
    } catch (const Interrupted&) {
      thrown = true;
    }
    const int at_return = done;
    std::this_thread::sleep_for(5ms);
    const bool settled = done == at_return;

    bool checked = false, deferred = false;
    try {
      check_interrupt();
    } catch (const Interrupted&) {
      checked = true;
    }
    {
      const DeferInterrupts defer;
      std::this_thread::sleep_for(60ms);
      deferred = covers(100, 1);
    }
    set_interrupt_callback(nullptr);
    REQUIRE(thrown && settled && at_return < 1000);
    REQUIRE(checked && deferred);
    REQUIRE(covers(100, 1));
  }
}

void test_float_mode() {
#if defined(__x86_64__)
  const unsigned before = _mm_getcsr();
  const unsigned odd = 0x1F80 | 0x8040 | 0x6000;  // flush to zero, denormals are zero, round towards zero
  for (int threads : {1, 3}) {
    set_num_threads(threads);
    for (int64_t count : {1, 30}) {
      std::atomic<int> bad{0};
      _mm_setcsr(odd);
      parallel_for(count, 1, [&](int64_t, int64_t) {
        std::this_thread::sleep_for(1ms);
        if ((_mm_getcsr() & ~0x3Fu) != 0x1F80) ++bad;
      });
      const unsigned after = _mm_getcsr();
      bool caught = false;
      try {
        parallel_for(count, 1, [](int64_t, int64_t) { throw 1; });
      } catch (int) {
        caught = true;
      }
      const unsigned after_throw = _mm_getcsr();
      _mm_setcsr(before);
      REQUIRE(bad == 0 && caught);
      REQUIRE((after & ~0x3Fu) == odd && (after_throw & ~0x3Fu) == odd);
    }
  }
#endif
}

// Exit while other threads are inside loops: no hang, no crash.
void test_exit() {
  if (kSanitized) return;
  for (int i = 0; i < 10; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);
      set_num_threads(3);
      for (int t = 0; t < 2; ++t)
        std::thread([] {
          for (;;) parallel_for(20, 1, [](int64_t, int64_t) { std::this_thread::sleep_for(10us); });
        }).detach();
      std::this_thread::sleep_for(3ms);
      std::exit(0);
    }
    int status = 1;
    REQUIRE(waitpid(child, &status, 0) == child && status == 0);
  }
}

void write_file(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

void test_cgroup_cpus() {
  namespace fs = std::filesystem;
  std::string name = (fs::temp_directory_path() / "pyformer_cgroup_XXXXXX").string();
  REQUIRE(mkdtemp(name.data()) != nullptr);
  const fs::path root = name;
  const int none = detail::cgroup_cpus(name);
  write_file(root / "proc/self/cgroup", "0::/a/b\n");
  write_file(root / "sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  const int unlimited = detail::cgroup_cpus(name);
  write_file(root / "sys/fs/cgroup/a/cpu.max", "250000 100000\n");
  const int parent = detail::cgroup_cpus(name);
  write_file(root / "sys/fs/cgroup/a/b/cpu.max", "20000 100000\n");
  const int small = detail::cgroup_cpus(name);
  write_file(root / "proc/self/cgroup", "3:cpu,cpuacct:/docker/x\n1:memory:/\n");
  write_file(root / "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "400000\n");
  write_file(root / "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  const int v1 = detail::cgroup_cpus(name);
  write_file(root / "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  const int v1_unlimited = detail::cgroup_cpus(name);
  fs::remove_all(root);
  REQUIRE(none == 0 && unlimited == 0 && parent == 3 && small == 1 && v1 == 4 && v1_unlimited == 0);
}

}  // namespace

void test_thread_pool() {
  const int before = num_threads();
  test_pieces();
  test_workers_take_part();
  test_nested_is_serial();
  test_exceptions();
  test_many_callers();
  test_callers_are_independent();
  test_set_num_threads_any_time();
  test_fork();
  test_interrupt();
  test_float_mode();
  test_exit();
  test_cgroup_cpus();
  set_num_threads(before);
}
