// The loops that measure the machine, for one instruction set.
#include "pyformer/base/peak_kernels.h"
#include "pyformer/base/write.h"

namespace pyformer::PF_ISA {

template <class T>
static void fma_chains(const FmaChains& a, int64_t begin, int64_t end) {
  constexpr int kChains = FmaChains::kChains;
  const Vec<T> factor = Vec<T>::broadcast(T(a.factor)), summand = Vec<T>::broadcast(T(a.summand));
  Vec<T> chain[kChains];
  for (int c = 0; c < kChains; ++c) chain[c] = Vec<T>::broadcast(T(c + 1));
  for (int64_t i = begin; i < end; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) chain[c] = fma(chain[c], factor, summand);
  }
  Vec<T> sum = chain[0];
  for (int c = 1; c < kChains; ++c) sum = sum + chain[c];
  *static_cast<T*>(a.out) = sum.r[0];
}

static void read_sum(const ReadSum& a, int64_t begin, int64_t end) {
  constexpr int kSums = 8;
  constexpr int64_t width = Vec<float>::width, block = ReadSum::kBlockBytes / int64_t(sizeof(float));
  Vec<float> sum[kSums];
  for (int s = 0; s < kSums; ++s) sum[s] = Vec<float>::zero();
  for (int64_t i = begin * block; i < end * block; i += kSums * width) {
#pragma GCC unroll 8
    for (int s = 0; s < kSums; ++s) sum[s] = sum[s] + Vec<float>::load(a.x + i + s * width);
  }
  for (int s = 1; s < kSums; ++s) sum[0] = sum[0] + sum[s];
  *a.out = sum[0].r[0];
}

static void copy_blocks(const CopyBlocks& a, int64_t begin, int64_t end) {
  constexpr int64_t block = CopyBlocks::kBlockBytes / int64_t(sizeof(float));
  const float* x = a.x + begin * block;
  write_row(a.out + begin * block, (end - begin) * block, true,
            [&](int64_t i, int64_t n) { return load_vec(x + i, n); });
  nontemporal_fence();
}

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const PeakKernels& peak_kernels<PF_ISA::kIsa>() {
  static constexpr PeakKernels kernels = {PF_ISA::kVectorBytes,
                                          {PF_ISA::fma_chains<float>, PF_ISA::fma_chains<double>},
                                          PF_ISA::read_sum,
                                          PF_ISA::copy_blocks};
  return kernels;
}
}  // namespace pyformer
