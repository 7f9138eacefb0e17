// The C++ test program: links the library alone, no Python.
#include <cstdio>
#include <exception>
#include <iterator>
#include <utility>

void test_core();

int main() {
  const std::pair<const char*, void (*)()> tests[] = {
      {"core", test_core},
  };
  int failed = 0;
  for (const auto& [name, test] : tests) {
    try {
      test();
      std::printf("%s ok\n", name);
    } catch (const std::exception& error) {
      std::printf("%s FAILED: %s\n", name, error.what());
      ++failed;
    }
  }
  std::printf("%d passed, %d failed\n", int(std::size(tests)) - failed, failed);
  return failed ? 1 : 0;
}
