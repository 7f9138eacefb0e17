// The library's kernels on tensor cores for the race detector: attention, forward and backward, and products. Each word
// is a schedule, which says whether the device is of sm_80 or of sm_90a.
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "pyformer/cuda/backend.h"
#include "pyformer/cuda/emulated.h"
#include "pyformer/cuda/kernel_tables.h"
#include "pyformer/ops/attention/attention_kernels.h"
#include "pyformer/ops/matmul/gemm_kernels.h"
#include "tests/cuda/schedules.h"

namespace pyformer::cuda {

// What device_library.cpp has: here kernels run at once, on memory of the host.
Scratch::Scratch(int64_t bytes) : device_(0), bytes_(bytes), data_(std::malloc(size_t(bytes_))) {}
Scratch::~Scratch() { std::free(data_); }
Stream current_stream() { return nullptr; }

namespace {

std::vector<uint16_t> bfloat16s(int64_t count, uint32_t seed) {
  std::vector<uint16_t> v;
  for (const float x : emulated::numbers(size_t(count), seed)) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    v.push_back(uint16_t(bits >> 16));
  }
  return v;
}

// An operand of bfloat16, or of float32, which is rounded.
struct Values {
  std::vector<uint16_t> halves;
  std::vector<float> floats;
  Values(int64_t count, uint32_t seed, bool wide) {
    if (wide)
      floats = emulated::numbers(size_t(count), seed);
    else
      halves = bfloat16s(count, seed);
  }
  const void* data() const { return floats.empty() ? static_cast<const void*>(halves.data()) : floats.data(); }
};

// m rows, k terms: one and two chains. With a, or a and b, of float32.
void product(int64_t m, int64_t n, int64_t k, bool transposed, bool wide_a = false, bool wide_b = false) {
  const Values a(m * k, 1, wide_a), b(k * n, 2, wide_b);
  std::vector<float> c(size_t(m * n), 1.0f);
  Gemm g;
  g.dtype = DType::bfloat16;
  g.wide_c = true;
  g.m = m, g.n = n, g.k = k;
  g.a = {a.data(), transposed ? m : k, transposed};
  g.b = {b.data(), transposed ? n : k, !transposed};
  g.a.wide = wide_a, g.b.wide = wide_b;
  g.c = c.data();
  g.c_stride = n;
  cuda_table<GemmTable>().multiply[DType::bfloat16](g);
}

// Two heads a key head; few queries take key ranges.
void attention(int64_t queries, int64_t keys, int64_t D, int64_t Dv, int64_t window, bool masked = false) {
  constexpr int64_t kHeads = 2;
  const std::vector<uint16_t> q = bfloat16s(queries * kHeads * D, 1), k = bfloat16s(keys * D, 2),
                              v = bfloat16s(keys * Dv, 3), dout = bfloat16s(queries * kHeads * Dv, 4);
  std::vector<float> row_max(size_t(queries * kHeads)), row_sum(row_max.size());
  std::vector<uint16_t> out(dout.size()), dq(q.size()), dk(k.size()), dv(v.size());
  const auto strides = [](int64_t heads, int64_t width) { return AttentionStrides{0, heads * width, width}; };
  AttentionForward f = {};
  AttentionInput& in = f.in;
  in.batch = 1, in.heads = kHeads, in.key_heads = 1, in.queries = queries, in.keys = keys;
  in.head_dim = D, in.value_dim = Dv, in.scale = 0.125, in.causal = true, in.window = window;
  in.q = q.data(), in.k = k.data(), in.v = v.data();
  in.q_strides = strides(kHeads, D), in.k_strides = strides(1, D), in.v_strides = strides(1, Dv);
  const auto mask = std::make_unique<bool[]>(size_t(queries * keys));
  for (int64_t i = 0; i < queries * keys; ++i) mask[size_t(i)] = i % 7 != 3 || i / keys < 32;
  if (masked) in.mask_allowed = mask.get(), in.mask_query = keys, in.mask_key = 1;
  f.out = out.data(), f.out_strides = strides(kHeads, Dv);
  f.row_max = row_max.data(), f.row_sum = row_sum.data();
  cuda_table<AttentionTable>().forward[DType::bfloat16](f);
  AttentionBackward b = {};
  b.in = in;
  b.dout = dout.data(), b.out = out.data(), b.row_max = row_max.data(), b.row_sum = row_sum.data();
  b.dq = dq.data(), b.dk = dk.data(), b.dv = dv.data();
  b.dout_strides = b.out_strides = strides(kHeads, Dv);
  b.dq_strides = strides(kHeads, D), b.dk_strides = strides(1, D), b.dv_strides = strides(1, Dv);
  cuda_table<AttentionTable>().backward[DType::bfloat16](b);
}

}  // namespace
}  // namespace pyformer::cuda

int main(int count, char** words) {
  using namespace pyformer;
  using namespace pyformer::cuda;
  for (int i = 1; i < count; ++i) {
    const emulated::With schedule(words[i]);
    product(70, 72, 520, false);    // more strips than a ring has slots
    product(130, 200, 136, false);  // several wide tiles for a block
    product(130, 40, 130, true);
    product(136, 40, 136, true);
    product(5, 40, 264, false);  // few rows
    product(70, 40, 72, false, true);
    product(70, 40, 72, true, true, true);
    product(5, 40, 264, false, true);
    product(5, 40, 264, false, true, true);
    const uint64_t of_products = emulated::counters.wgmma;
    std::printf("products: %d mma, %d wgmma\n", int(emulated::counters.mma), int(of_products));
    attention(70, 140, 64, 64, 0);
    attention(40, 200, 128, 128, 90);
    attention(70, 140, 64, 64, 0, true);
    attention(40, 200, 128, 128, 0, true);
    attention(33, 70, 40, 72, 0);
    attention(1, 600, 64, 64, 0);
    std::printf("attention: %d wgmma\n", int(emulated::counters.wgmma - of_products));
    emulated::counters = {};
  }
  return 0;
}
