// The tests of the emulator and of the PTX instructions. With words, only those whose names contain one of them.
#include <cstdio>
#include <cstring>
#include <exception>
#include <utility>

void test_layer_norm();
void test_matmul_sm80();
void test_matmul_sm90();

namespace {

constexpr std::pair<const char*, void (*)()> kTests[] = {
    {"layer_norm", test_layer_norm},
    {"matmul_sm80", test_matmul_sm80},
    {"matmul_sm90", test_matmul_sm90},
};

bool wanted(const char* name, int count, char** words) {
  for (int i = 1; i < count; ++i)
    if (std::strstr(name, words[i])) return true;
  return count < 2;
}

}  // namespace

int main(int count, char** words) {
  int passed = 0, failed = 0;
  for (const auto& [name, test] : kTests) {
    if (!wanted(name, count, words)) continue;
    try {
      test();
      std::printf("%s ok\n", name);
      ++passed;
    } catch (const std::exception& error) {
      std::printf("%s FAILED: %s\n", name, error.what());
      ++failed;
    }
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed || !passed;
}
