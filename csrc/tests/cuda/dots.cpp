// Random sums of the emulated tensor cores, printed for tests/cuda_emulator.py, which computes them in exact
// arithmetic.
#include <cmath>
#include <cstdio>
#include <random>

#include "pyformer/cuda/emulated.h"
#include "pyformer/cuda/tensor_core.h"

namespace pyformer::emulated {
namespace {

std::mt19937 rng(3);

// Numbers whose exponents differ by up to 2 spread; some are zeros, some subnormals of T.
float draw(int spread, int least) {
  if (rng() % 9 == 0) return 0;
  const float x = float(int(rng() % 255) - 127) / 64 * (1 + float(rng() % 4096) / 65536);
  return rng() % 9 == 0 ? std::ldexp(x, least - 2) : std::ldexp(x, int(rng() % unsigned(2 * spread + 1)) - spread);
}

void set(Factors& f, int k, const char* type, float x) {
  if (type[0] == 'b')
    f.set(k, to_bfloat16(x));
  else if (type[0] == 'f')
    f.set(k, to_float16(x));
  else
    f.set_tf32(k, x);
}

void print_dot(const char* type, int count, int least, int spread) {
  Factors a, b;
  for (int k = 0; k < count; ++k) set(a, k, type, draw(spread, least)), set(b, k, type, draw(spread, least));
  const float c = draw(spread, -126);
  std::printf("%s %d %a", type, count, c);
  for (const TensorCore core : {TensorCore::plain, TensorCore::ampere, TensorCore::hopper}) {
    settings.tensor_core = core;
    std::printf(" %a", tensor_core_dot(a, b, count, c));
  }
  for (int k = 0; k < count; ++k) std::printf(" %a %a", a.value[k], b.value[k]);
  std::printf("\n");
}

}  // namespace
}  // namespace pyformer::emulated

void print_dots() {
  using namespace pyformer::emulated;
  for (int i = 0; i < 1500; ++i) {
    const int spread = i % 5 * 6;
    print_dot("bfloat16", 16, -126, spread);
    print_dot("float16", 16, -14, spread < 14 ? spread : 14);
    print_dot("tf32", 8, -126, spread);
  }
}
