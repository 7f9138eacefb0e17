// The C++ test program: links the library alone, no Python.
#include <cstdio>
#include <exception>
#include <iterator>
#include <utility>

void test_allocator();
void test_core();
void test_cpu_placement();
void test_math();
void test_thread_pool();
void test_workspace();

int main() {
  const std::pair<const char*, void (*)()> tests[] = {
      {"allocator", test_allocator},
      {"cpu placement", test_cpu_placement},
      {"thread pool", test_thread_pool},
      {"workspace", test_workspace},
#if !defined(PF_TEST_THREADS_ONLY)
      {"core", test_core},
      {"math", test_math},
#endif
  };
  int failed = 0;
  for (const auto& [name, test] : tests) {
    try {
      test();
      std::printf("%s ok\n", name);
      std::fflush(stdout);  // a test that forks must not print this again
    } catch (const std::exception& error) {
      std::printf("%s FAILED: %s\n", name, error.what());
      ++failed;
    }
  }
  std::printf("%d passed, %d failed\n", int(std::size(tests)) - failed, failed);
  return failed ? 1 : 0;
}
