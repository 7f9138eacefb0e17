// Arrays, dtypes and the tape, from C++ as an application that embeds the library would use them.
#include <cmath>

#include "check.h"
#include "pyformer/core/random.h"
#include "pyformer/ops/ops.h"

using namespace pyformer;

static Array filled(const Shape& shape, float first, float step) {
  Array a = Array::empty(shape, DType::float32, kCpu);
  for (int64_t i = 0; i < a.size(); ++i) a.data<float>()[i] = first + step * float(i);
  return a;
}

static void half_precision_round_trips() {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const Float16 h{uint16_t(bits)};
    const BFloat16 b{uint16_t(bits)};
    const float fh = to_float(h), fb = to_float(b);
    if (!std::isnan(fh)) expect(to_float16(fh).bits == bits, cat("float16 ", bits));
    if (!std::isnan(fb)) expect(to_bfloat16(fb).bits == bits, cat("bfloat16 ", bits));
  }
  expect(std::isinf(to_float(to_float16(65520.0f))) && to_float(to_float16(65519.0f)) == 65504.0f, "float16 overflow");
}

static void absurd_sizes_are_refused() {
  expect_throws<OutOfMemory>([] { Array::empty({int64_t(1) << 40, int64_t(1) << 40}, DType::float32, kCpu); },
                             "overflow");
  expect_throws<OutOfMemory>([] { Array::empty({int64_t(1) << 45}, DType::float32, kCpu); }, "2**47 bytes");
}

static void gradients_flow_and_free() {
  const int64_t before = live_storages();
  {
    const Tensor x(filled({4, 8}, -1, 0.37f), true), w(filled({8}, 1, 0.1f), true), b(filled({8}, 0, 0.1f), true);
    Tensor y = x;
    for (int i = 0; i < 20000; ++i) y = layer_norm(y, w, b, 1e-5);  // a chain that recursion would not survive
    backward(y, filled({4, 8}, 1, -0.2f));
    expect(x.grad().defined() && w.grad().defined() && b.grad().defined(), "leaves got gradients");
    expect_throws<std::runtime_error>([&] { backward(y, filled({4, 8}, 1, 0)); }, "a second backward");
  }
  expect(live_storages() == before, "a graph kept arrays alive");
  {
    Tensor y(filled({4, 8}, -1, 0.37f), true);
    const Tensor none;
    for (int i = 0; i < 20000; ++i) y = layer_norm(y, none, none, 1e-5);
  }
  expect(live_storages() == before, "an unused graph kept arrays alive");
}

static void writes_in_place_are_noticed() {
  const Tensor x(filled({4, 8}, -1, 0.37f), true), none;
  const Tensor y = layer_norm(x, none, none, 1e-5);
  x.array().storage().written();
  expect_throws<std::runtime_error>([&] { backward(y, filled({4, 8}, 1, 0)); }, "a changed input");
}

static void a_micro_batch_draws_streams_of_its_own() {
  const RandomStream before = rng_state();
  for (int again = 0; again < 2; ++again) {
    const StreamScope scope(micro_batch_stream(1, 2, 3));
    const RandomStream first = draw_stream(), second = draw_stream();
    expect(first.seed == micro_batch_stream(1, 2, 3).seed && first.stream == 0, "the first stream");
    expect(second.seed == first.seed && second.stream == 1, "the second stream");
    for (const RandomStream other :
         {micro_batch_stream(0, 2, 3), micro_batch_stream(1, 1, 3), micro_batch_stream(1, 2, 2)})
      expect(other.seed != first.seed, "another micro-batch has the same seed");
  }
  expect(rng_state().seed == before.seed && rng_state().stream == before.stream, "the process's state moved");
}

void test_core() {
  half_precision_round_trips();
  absurd_sizes_are_refused();
  gradients_flow_and_free();
  writes_in_place_are_noticed();
  a_micro_batch_draws_streams_of_its_own();
}
