#include "pyformer/ops/conv/conv_bfloat16.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "pyformer/core/widened.h"
#include "pyformer/ops/conv/conv_taps.h"
#include "pyformer/ops/matmul/gemm.h"

namespace pyformer {

namespace {

constexpr int64_t kTermBytes = 1 << 20;     // of a task's positions, about
constexpr int64_t kTaskProducts = 1 << 19;  // multiply-adds below which handing out costs more than it gains

thread_local ThreadBlock terms_block, sums_block;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

bool is_finite(BFloat16 x) { return (x.bits & 0x7f80) != 0x7f80; }
bool all_finite_rounded(const float* x, int64_t count) {
  return std::all_of(x, x + count, [](float value) { return is_finite(to_bfloat16(value)); });
}

// Planes (images, groups, channels) of height x width, rounded, and what of them is a term: of position (i, j), tap
// (y, x) is element (i * step + shift) of either axis.
struct TermSource {
  const BFloat16* planes;
  int64_t channels, height, width;
  Taps y, x;
  int64_t step[2], rows, cols;  // of positions

  int64_t terms() const { return channels * y.size() * x.size(); }
  int64_t positions() const { return rows * cols; }
  const BFloat16* image_group(int64_t i) const { return planes + i * channels * height * width; }
  bool is_inside(int64_t term, int64_t position) const {
    const int64_t row = position / cols * step[0] + y.shift[size_t(term / x.size() % y.size())];
    const int64_t col = position % cols * step[1] + x.shift[size_t(term % x.size())];
    return row >= 0 && row < height && col >= 0 && col < width;
  }
  // Rows of positions of a block: a multiple of `unit` of them whose terms fill kTermBytes, or fewer for `tasks` tasks.
  int64_t block_rows(int64_t tasks, int64_t unit) const {
    const int64_t row_bytes = std::max<int64_t>(1, terms() * cols * item_bytes(DType::bfloat16));
    const int64_t most = std::min(std::max<int64_t>(1, kTermBytes / row_bytes), ceil_div(rows, tasks));
    return std::max<int64_t>(1, most / unit) * unit;
  }
};

// to[j] = from[j * step + shift], +0 outside of [0, limit).
void gather_row(const BFloat16* from, int64_t limit, int64_t step, int64_t shift, int64_t count, BFloat16* to) {
  const int64_t begin = std::clamp<int64_t>(shift < 0 ? ceil_div(-shift, step) : 0, 0, count);
  const int64_t end = std::clamp<int64_t>(shift < limit ? ceil_div(limit - shift, step) : 0, begin, count);
  std::memset(to, 0, size_t(begin) * sizeof(BFloat16));
  if (step == 1)
    std::memcpy(to + begin, from + begin + shift, size_t(end - begin) * sizeof(BFloat16));
  else
    for (int64_t j = begin; j < end; ++j) to[j] = from[j * step + shift];
  std::memset(to + end, 0, size_t(count - end) * sizeof(BFloat16));
}

// The terms of `rows` rows of positions from `first` on: (terms, rows * cols).
void gather(const TermSource& s, int64_t image_group, int64_t first, int64_t rows, BFloat16* to) {
  for (int64_t c = 0; c < s.channels; ++c) {
    const BFloat16* const plane = s.image_group(image_group) + c * s.height * s.width;
    for (const int64_t y : s.y.shift)
      for (const int64_t x : s.x.shift)
        for (int64_t i = first; i < first + rows; ++i, to += s.cols) {
          const int64_t row = i * s.step[0] + y;
          const bool inside = row >= 0 && row < s.height;
          gather_row(inside ? plane + row * s.width : plane, inside ? s.width : 0, s.step[1], x, s.cols, to);
        }
  }
}

// Continues c by the sum of a and b, of k elements each, as the plain loops do.
void add_dot(const std::vector<float>& a, const std::vector<float>& b, bool fresh, float* c) {
  Gemm g;
  g.dtype = DType::bfloat16;
  g.wide_c = true;
  g.m = g.n = 1;
  g.k = int64_t(a.size());
  g.a = {a.data(), g.k, false, 0, true};
  g.b = {b.data(), g.k, true, 0, true};
  g.c = c;
  g.c_stride = 1;
  g.continue_sum = !fresh;
  gemm(Isa::ref, g);
}

// ---- sums at positions ------------------------------------------------------------------------------------------

struct PositionSums {
  TermSource source;
  int64_t image_groups, groups, m;
  const float* weight;  // (groups, m, terms)
  const float* bias;    // (groups, m) or null
  float* out;           // (image_groups, m) planes
  int64_t out_plane, out_row, out_col;
  bool skips_outside;  // some weight is not finite, and does not meet what lies outside
};

// Sums that are NaN, again, without what lies outside.
void sum_again(const PositionSums& s, const BFloat16* terms, int64_t group, int64_t first, int64_t positions,
               float* sums) {
  const int64_t K = s.source.terms();
  std::vector<float> a(static_cast<size_t>(K)), b(static_cast<size_t>(K));
  for (int64_t m = 0; m < s.m; ++m)
    for (int64_t p = 0; p < positions; ++p) {
      float& sum = sums[m * positions + p];
      if (sum == sum) continue;
      for (int64_t k = 0; k < K; ++k) {
        const bool inside = s.source.is_inside(k, first * s.source.cols + p);
        a[size_t(k)] = inside ? s.weight[(group * s.m + m) * K + k] : 0.0f;
        b[size_t(k)] = to_float(terms[k * positions + p]);
      }
      add_dot(a, b, true, &sum);
    }
}

void store_sums(const PositionSums& s, const float* sums, int64_t image_group, int64_t first, int64_t rows) {
  const int64_t cols = s.source.cols;
  for (int64_t m = 0; m < s.m; ++m) {
    const float* const bias = s.bias ? s.bias + image_group % s.groups * s.m + m : nullptr;
    float* const plane = s.out + (image_group * s.m + m) * s.out_plane;
    for (int64_t i = first; i < first + rows; ++i)
      for (int64_t j = 0; j < cols; ++j, ++sums) plane[i * s.out_row + j * s.out_col] = bias ? *sums + *bias : *sums;
  }
}

void run_sums(Isa isa, const PositionSums& s) {
  const TermSource& t = s.source;
  const int64_t K = t.terms();
  if (s.image_groups == 0 || s.m == 0 || t.positions() == 0) return;
  const int64_t rows = std::min(t.rows, t.block_rows(ceil_div(4 * num_threads(), s.image_groups), 1));
  const int64_t blocks = ceil_div(t.rows, rows), products = std::max<int64_t>(1, s.m * K * rows * t.cols);
  parallel_for(
      s.image_groups * blocks, std::max<int64_t>(1, kTaskProducts / products), [&](int64_t begin, int64_t end) {
        const Workspace terms(K * rows * t.cols * item_bytes(DType::bfloat16), &terms_block);
        const Workspace sums(s.m * rows * t.cols * item_bytes(DType::float32), &sums_block);
        for (int64_t item = begin; item < end; ++item) {
          const int64_t image_group = item / blocks, group = image_group % s.groups, first = item % blocks * rows;
          const int64_t count = std::min(rows, t.rows - first);
          gather(t, image_group, first, count, static_cast<BFloat16*>(terms.data()));
          Gemm g;
          g.dtype = DType::bfloat16;
          g.wide_c = true;
          g.m = s.m;
          g.n = count * t.cols;
          g.k = K;
          g.a = {s.weight + group * s.m * K, K, false, 0, true};
          g.b = {terms.data(), g.n, false};
          g.c = sums.data();
          g.c_stride = g.n;
          gemm(isa, g);
          float* const found = static_cast<float*>(sums.data());
          if (s.skips_outside) sum_again(s, static_cast<BFloat16*>(terms.data()), group, first, g.n, found);
          store_sums(s, found, image_group, first, count);
        }
      });
}

// float32 rounded, in memory of a scope.
class Rounded {
 public:
  Rounded(const void* x, int64_t count) : memory_(checked_multiply(count, item_bytes(DType::bfloat16))) {
    convert_on_host(x, DType::float32, memory_.data(), DType::bfloat16, count);
  }
  const BFloat16* data() const { return static_cast<const BFloat16*>(memory_.data()); }

 private:
  Workspace memory_;
};

bool skips_outside(const ConvGeometry& g, bool outside_counts, const void* factors, int64_t count) {
  return !outside_counts && !all_inside(g) && !all_finite_rounded(static_cast<const float*>(factors), count);
}

}  // namespace

void conv_to_result_bfloat16(Isa isa, const ConvMap& a) {
  const ConvGeometry& g = a.g;
  const Rounded image(a.from, g.image_elements());
  PositionSums s = {};
  s.source = {
      image.data(),   g.C,           g.size[0], g.size[1], all_taps(g, 0), all_taps(g, 1), {g.stride[0], g.stride[1]},
      g.positions[0], g.positions[1]};
  s.image_groups = g.N * g.groups;
  s.groups = g.groups;
  s.m = g.O;
  s.weight = static_cast<const float*>(a.weight);
  s.bias = static_cast<const float*>(a.bias);
  s.out = static_cast<float*>(a.to);
  s.out_plane = g.positions[0] * g.positions[1];
  s.out_row = g.positions[1];
  s.out_col = 1;
  s.skips_outside = skips_outside(g, a.outside_counts, a.weight, g.weight_elements());
  run_sums(isa, s);
}

// Image rows and columns that are stride apart meet the same part of the kernel.
void conv_to_image_bfloat16(Isa isa, const ConvMap& a) {
  const ConvGeometry& g = a.g;
  const Rounded result(a.from, g.result_elements());
  const Workspace memory(g.weight_elements() * item_bytes(DType::float32));
  float* const weight = static_cast<float*>(memory.data());
  const float* const given = static_cast<const float*>(a.weight);
  const bool skips = skips_outside(g, false, a.weight, g.weight_elements());
  for (int64_t y = 0; y < std::min(g.stride[0], g.size[0]); ++y)
    for (int64_t x = 0; x < std::min(g.stride[1], g.size[1]); ++x) {
      PositionSums s = {};
      s.source = {result.data(),
                  g.O,
                  g.positions[0],
                  g.positions[1],
                  taps_meeting(g, 0, y),
                  taps_meeting(g, 1, x),
                  {1, 1},
                  ceil_div(g.size[0] - y, g.stride[0]),
                  ceil_div(g.size[1] - x, g.stride[1])};
      float* at = weight;  // (groups, C, (O, taps))
      for (int64_t group = 0; group < g.groups; ++group)
        for (int64_t c = 0; c < g.C; ++c)
          for (int64_t o = 0; o < g.O; ++o)
            for (const int64_t kh : s.source.y.index)
              for (const int64_t kw : s.source.x.index)
                *at++ = given[((group * g.O + o) * g.C + c) * g.taps() + kh * g.kernel[1] + kw];
      s.image_groups = g.N * g.groups;
      s.groups = g.groups;
      s.m = g.C;
      s.weight = weight;
      s.bias = static_cast<const float*>(a.bias);
      s.out = static_cast<float*>(a.to) + y * g.size[1] + x;
      s.out_plane = g.size[0] * g.size[1];
      s.out_row = g.stride[0] * g.size[1];
      s.out_col = g.stride[1];
      s.skips_outside = skips;
      run_sums(isa, s);
    }
}

namespace {

// ---- sums over positions: dweight -------------------------------------------------------------------------------

struct WeightSums {
  TermSource source;
  int64_t groups, m;
  const float* dout;  // (images, groups, m, positions)
  bool skips_outside;

  // dweight (m, terms) = the sum over the images [begin, end) of a group.
  void sum(Isa isa, int64_t group, int64_t begin, int64_t end, float* dweight) const {
    // All blocks but an image's last are whole blocks of the sum.
    const int64_t unit = kBFloat16Block / std::gcd(kBFloat16Block, source.cols);
    const int64_t K = source.terms(), rows = std::min(source.rows, source.block_rows(1, unit));
    const Workspace terms(K * rows * source.cols * item_bytes(DType::bfloat16), &terms_block);
    for (int64_t n = begin; n < end; ++n)
      for (int64_t first = 0; first < source.rows; first += rows) {
        const int64_t image_group = n * groups + group, count = std::min(rows, source.rows - first);
        gather(source, image_group, first, count, static_cast<BFloat16*>(terms.data()));
        Gemm g;
        g.dtype = DType::bfloat16;
        g.wide_c = true;
        g.m = m;
        g.n = K;
        g.k = count * source.cols;
        g.a = {dout + image_group * m * source.positions() + first * source.cols, source.positions(), false, 0, true};
        g.b = {terms.data(), g.k, true};
        g.c = dweight;
        g.c_stride = K;
        g.continue_sum = n > begin || first > 0;
        gemm(isa, g);
      }
    if (!skips_outside) return;
    for (int64_t i = 0; i < m * K; ++i)
      if (dweight[i] != dweight[i]) sum_again(group, begin, end, i / K, i % K, dweight + i);
  }

  // One sum without what lies outside.
  void sum_again(int64_t group, int64_t begin, int64_t end, int64_t o, int64_t term, float* sum) const {
    const int64_t P = source.positions(), taps = source.y.size() * source.x.size();
    std::vector<float> a(static_cast<size_t>(P)), b(static_cast<size_t>(P));
    for (int64_t n = begin; n < end; ++n) {
      const int64_t image_group = n * groups + group;
      const BFloat16* const plane = source.image_group(image_group) + term / taps * source.height * source.width;
      for (int64_t p = 0; p < P; ++p) {
        const int64_t row = p / source.cols * source.step[0] + source.y.shift[size_t(term % taps / source.x.size())];
        const int64_t col = p % source.cols * source.step[1] + source.x.shift[size_t(term % source.x.size())];
        const bool inside = source.is_inside(term, p);
        a[size_t(p)] = inside ? dout[(image_group * m + o) * P + p] : 0.0f;
        b[size_t(p)] = inside ? to_float(plane[row * source.width + col]) : 0.0f;
      }
      add_dot(a, b, n == begin, sum);
    }
  }
};

}  // namespace

void conv_weight_gradient_bfloat16(Isa isa, const ConvWeightGradient& a) {
  const ConvGeometry& g = a.g;
  const int64_t ranges = a.image_ranges();
  if (ranges * g.weight_elements() == 0) return;
  const Rounded image(a.image, g.image_elements());
  WeightSums s = {};
  s.source = {
      image.data(),   g.C,           g.size[0], g.size[1], all_taps(g, 0), all_taps(g, 1), {g.stride[0], g.stride[1]},
      g.positions[0], g.positions[1]};
  s.groups = g.groups;
  s.m = g.O;
  s.dout = static_cast<const float*>(a.dresult);
  s.skips_outside = skips_outside(g, a.outside_counts, a.dresult, g.result_elements());
  parallel_for(ranges * g.groups, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t range = item / g.groups;
      s.sum(isa, item % g.groups, range * g.N / ranges, (range + 1) * g.N / ranges,
            static_cast<float*>(a.dweight) + item * g.O * g.C * g.taps());
    }
  });
}

}  // namespace pyformer
