// A line for each PTX function: its name and a hash of what it gives for random operands. Compiled twice, for a GPU and
// for the emulator: both are to print the same (bench/gpu.sh). PF_SM90: with what sm_90a has.
#include <cstdio>
#include <utility>
#include <vector>

#include "tests/cuda/primitives_kernel.h"

namespace pyformer::cuda {
namespace {

// Memory that the kernel sees: of the GPU, or the host's.
template <class T>
class Memory {
 public:
  explicit Memory(std::vector<T> values) : values_(std::move(values)) {
#if defined(__CUDACC__)
    check(cudaMalloc(&data_, bytes()), "memory");
    check(cudaMemcpy(data_, values_.data(), bytes(), cudaMemcpyHostToDevice), "copy");
#else
    data_ = values_.data();
#endif
  }
  ~Memory() {
#if defined(__CUDACC__)
    (void)cudaFree(data_);
#endif
  }
  Memory(const Memory&) = delete;
  T* data() { return data_; }
  const std::vector<T>& read() {
#if defined(__CUDACC__)
    check(cudaDeviceSynchronize(), "kernel");
    check(cudaMemcpy(values_.data(), data_, bytes(), cudaMemcpyDeviceToHost), "copy");
#endif
    return values_;
  }

 private:
  size_t bytes() const { return values_.size() * sizeof(T); }
  std::vector<T> values_;
  T* data_ = nullptr;
};

uint64_t state = 1;
uint32_t draw() {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return uint32_t(state >> 33);
}

// Normal and subnormal numbers of many sizes, so that tensor cores have something to truncate; no NaN.
template <class T>
uint16_t random_half() {
  const float size = float(1 << draw() % 12) / 64, x = (float(draw() % 65536) - 32768) / 32768 * size;
  if constexpr (std::is_same_v<T, BFloat16>)
    return to_bfloat16(draw() % 50 ? x : x * 0x1p-130f).bits;
  else
    return to_float16(draw() % 50 ? x : x * 0x1p-20f).bits;
}
template <class T>
std::vector<uint32_t> random_pairs(size_t count) {
  std::vector<uint32_t> v(count);
  for (uint32_t& x : v) x = random_half<T>() | uint32_t(random_half<T>()) << 16;
  return v;
}
template <class T>
std::vector<uint16_t> random_halves(size_t count) {
  std::vector<uint16_t> v(count);
  for (uint16_t& x : v) x = random_half<T>();
  return v;
}
std::vector<float> random_floats(size_t count) {
  std::vector<float> v(count);
  for (float& x : v) x = (float(draw() % 65536) - 32768) / 4096;
  return v;
}

constexpr uint64_t kStart = 14695981039346656037u;
template <class T>
uint64_t hash_of(const std::vector<T>& values, uint64_t hash = kStart) {
  const unsigned char* bytes = reinterpret_cast<const unsigned char*>(values.data());
  for (size_t i = 0; i < values.size() * sizeof(T); ++i) hash = (hash ^ bytes[i]) * 1099511628211u;
  return hash;
}

// Each starts with its own seed, so that one which ends early changes no other.
template <class Test>
void report(const char* name, int number, const Test& test) {
  state = uint64_t(number) + 1;
  try {
    uint64_t hash = kStart;
    for (int i = 0; i < 20; ++i) hash = test(hash);
    std::printf("%s %d %016llx\n", name, number, (unsigned long long)hash);
  } catch (const std::exception& error) {
    std::printf("%s %d FAILED: %s\n", name, number, error.what());
  }
  std::fflush(stdout);
}

template <class Kernel>
uint64_t mma(Kernel kernel, std::vector<uint32_t> a_values, std::vector<uint32_t> b_values, uint64_t hash) {
  Memory<uint32_t> a(std::move(a_values)), b(std::move(b_values));
  Memory<float> d(random_floats(32 * 4));
  launch(kernel, 1, 32, 0, nullptr, MmaTest{a.data(), b.data(), d.data()});
  return hash_of(d.read(), hash);
}

std::vector<uint32_t> float_patterns(size_t count) {
  std::vector<uint32_t> v;
  for (const float x : random_floats(count)) v.push_back(float_bits(x));
  return v;
}

template <bool transposed, int count>
uint64_t matrices(uint64_t hash) {
  std::vector<int> places(32);
  const int step = int(draw() % 16) * 2 + 1;
  for (int r = 0; r < 32; ++r) places[size_t(r)] = r * step % 32;
  Memory<int> place(places);
  Memory<uint16_t> in(random_halves<Float16>(256)), out(std::vector<uint16_t>(256, 0xffff));
  Memory<uint32_t> registers(std::vector<uint32_t>(32 * count));
  launch(matrix_test<transposed, count>, 1, 32, sizeof(MatrixShared), nullptr,
         MatrixTest{place.data(), in.data(), registers.data(), out.data()});
  hash = hash_of(registers.read(), hash);
#if defined(PF_SM90)
  hash = hash_of(out.read(), hash);  // through stmatrix
#endif
  return hash;
}

#if defined(PF_SM90)
template <class T, int n, bool a_in_registers, Major a_major, Major b_major>
uint64_t wgmma_bits(Swizzle swizzle, uint64_t hash) {
  Memory<uint16_t> a(random_halves<T>(WgmmaShared::kBytes / 2)), b(random_halves<T>(WgmmaShared::kBytes / 2));
  Memory<uint32_t> a_registers(random_pairs<T>(128 * 4));
  Memory<float> d(random_floats(128 * n / 2));
  // Atoms of eight lines, one after another, as primitives_test.cpp has them.
  constexpr uint32_t kLineBytes[] = {16, 128, 64, 32};
  const uint32_t one = 8 * kLineBytes[int(swizzle)], two = 2 * one;
  const bool plain = swizzle == Swizzle::none;
  const auto operand = [&](uint16_t* image, Major major) {
    if (major == Major::k) return Operand{image, plain ? one : 16, plain ? two : one, swizzle};
    return Operand{image, plain ? one : two, plain ? two : one, swizzle};
  };
  launch(wgmma_test<T, n, a_in_registers, a_major, b_major>, 1, 128, sizeof(WgmmaShared), nullptr,
         WgmmaTest{operand(a.data(), a_major), operand(b.data(), b_major), a_registers.data(), d.data()});
  return hash_of(d.read(), hash);
}

template <int... eighths>
void report_widths(std::integer_sequence<int, eighths...>) {
  (report("wgmma bfloat16 n", 8 * (eighths + 1),
          [](uint64_t hash) {
            return wgmma_bits<BFloat16, 8 * (eighths + 1), false, Major::k, Major::k>(Swizzle::bytes_128, hash);
          }),
   ...);
  (report("wgmma float16 a in registers n", 8 * (eighths + 1),
          [](uint64_t hash) {
            return wgmma_bits<Float16, 8 * (eighths + 1), true, Major::k, Major::k>(Swizzle::none, hash);
          }),
   ...);
}

uint64_t bulk(uint64_t hash) {
  Memory<uint16_t> in(random_halves<Float16>(256)), out(std::vector<uint16_t>(256, 0xffff));
  launch(bulk_test<>, 1, 32, sizeof(BoxShared), nullptr, BulkTest{in.data(), out.data(), 320});
  return hash_of(out.read(), hash);
}

uint64_t boxes(Swizzle swizzle, uint64_t hash) {
  constexpr int kLines[] = {8, 64, 32, 16};
  const int line = kLines[int(swizzle)], width = line + 8, height = 7;
  Memory<uint16_t> from(random_halves<BFloat16>(size_t(width * height)));
  Memory<uint16_t> to(std::vector<uint16_t>(size_t(width * height), 0)), image(std::vector<uint16_t>(size_t(line) * 8));
  const TensorMapShape<2> shape = {{width, height}, {2, width * 2}, {line, 8}, swizzle};
  const int x = int(draw() % unsigned(2 * line)) - line, y = int(draw() % 14) - 7;
  launch(box_test<2>, 1, 32, sizeof(BoxShared), nullptr,
         BoxTest{tensor_map(from.data(), DType::bfloat16, shape),
                 tensor_map(to.data(), DType::bfloat16, shape),
                 {x, y, 0},
                 uint32_t(line) * 16,
                 image.data()});
  return hash_of(to.read(), hash_of(image.read(), hash));
}
#endif

void report_all() {
  report("mma bfloat16", 16, [](uint64_t hash) {
    return mma(mma_test<BFloat16>, random_pairs<BFloat16>(128), random_pairs<BFloat16>(64), hash);
  });
  report("mma float16", 16, [](uint64_t hash) {
    return mma(mma_test<Float16>, random_pairs<Float16>(128), random_pairs<Float16>(64), hash);
  });
  report("mma tf32", 8,
         [](uint64_t hash) { return mma(mma_tf32_test<>, float_patterns(128), float_patterns(64), hash); });
  report("lanes", 32, [](uint64_t hash) {
    Memory<int> out(std::vector<int>(32 * 8));
    launch(lanes_test<>, 1, 32, 0, nullptr, LanesTest{out.data()});
    return hash_of(out.read(), hash);
  });
  report("ldmatrix", 1, matrices<false, 1>);
  report("ldmatrix", 2, matrices<false, 2>);
  report("ldmatrix", 4, matrices<false, 4>);
  report("ldmatrix transposed", 1, matrices<true, 1>);
  report("ldmatrix transposed", 2, matrices<true, 2>);
  report("ldmatrix transposed", 4, matrices<true, 4>);
#if defined(PF_SM90)
  for (const Swizzle swizzle : {Swizzle::none, Swizzle::bytes_128, Swizzle::bytes_64, Swizzle::bytes_32}) {
    const int number = int(swizzle);
    report("box", number, [=](uint64_t hash) { return boxes(swizzle, hash); });
    report("wgmma k, k", number,
           [=](uint64_t hash) { return wgmma_bits<BFloat16, 64, false, Major::k, Major::k>(swizzle, hash); });
    report("wgmma mn, k", number,
           [=](uint64_t hash) { return wgmma_bits<BFloat16, 64, false, Major::mn, Major::k>(swizzle, hash); });
    report("wgmma k, mn", number,
           [=](uint64_t hash) { return wgmma_bits<Float16, 64, false, Major::k, Major::mn>(swizzle, hash); });
  }
  report("bulk", 0, bulk);
  report_widths(std::make_integer_sequence<int, 32>());
#endif
}

}  // namespace
}  // namespace pyformer::cuda

int main() { pyformer::cuda::report_all(); }
