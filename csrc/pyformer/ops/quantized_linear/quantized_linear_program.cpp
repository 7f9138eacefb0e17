// Products of a recording that share rows of x are made as one loop, after one rounding of x.
#include <algorithm>

#include "pyformer/base/run.h"
#include "pyformer/ops/quantized_linear/quantized_linear_kernels.h"

namespace pyformer {

namespace {

constexpr const char* kQuantized = "quantized_linear";

struct JoinedProducts {
  static constexpr int kMost = 4;
  const float* x;
  QuantProducts of[kMost];
  int count;
  int64_t items() const {
    int64_t sum = 0;
    for (int i = 0; i < count; ++i) sum += of[i].items();
    return sum;
  }
  int64_t grain() const {
    int64_t least = of[0].grain();
    for (int i = 1; i < count; ++i) least = std::min(least, of[i].grain());
    return least;
  }
};

void make_joined(const Recording::Call& call, const void* noted, int64_t begin, int64_t end) {
  const auto& joined = *static_cast<const JoinedProducts*>(noted);
  const auto kernel = reinterpret_cast<Kernel<QuantProducts>>(call.kernel);
  for (int i = 0; i < joined.count; ++i) {
    const QuantProducts& products = joined.of[i];
    const int64_t items = products.items(), from = std::max<int64_t>(begin, 0), to = std::min(end, items);
    if (from < to) run_items(kernel, call.dtype, products, from, to);
    begin -= items;
    end -= items;
  }
}

struct Bytes {
  const void* at;
  int64_t count;
  bool overlaps(const Bytes& other) const {
    const auto a = reinterpret_cast<uintptr_t>(at), b = reinterpret_cast<uintptr_t>(other.at);
    return at && other.at && a < b + uint64_t(other.count) && b < a + uint64_t(count);
  }
};

// What it writes, and whether it reads of that.
Bytes written(const QuantProducts& p) { return {p.out, p.rows * p.w.n * 4}; }
bool reads(const QuantProducts& p, const Bytes& bytes) {
  const int64_t width = p.w.width(), groups = width / kQuantXGroup;
  const Bytes read[] = {{p.q, 2 * p.rows * width},
                        {p.scales, 4 * p.rows * groups},
                        {p.wide, p.rows * groups},
                        {p.sums, 4 * p.rows * p.w.runs()},
                        {p.epilogue.bias, 4 * p.w.n},
                        {p.epilogue.factor, 4 * p.rows * p.w.n},
                        {p.epilogue.residual, 4 * p.rows * p.w.n}};
  return std::any_of(std::begin(read), std::end(read), [&](const Bytes& r) { return r.overlaps(bytes); });
}

// Whether x is rounded alike for both, and neither needs what the other makes.
bool may_join(const JoinedProducts& joined, const float* x, const QuantProducts& more) {
  const QuantProducts& first = joined.of[0];
  if (joined.count == joined.kMost || joined.x != x || first.rows != more.rows || more.epilogue.preactivation)
    return false;
  if (first.w.k != more.w.k || first.w.width() != more.w.width() || first.w.row().run() != more.w.row().run())
    return false;
  return std::all_of(joined.of, joined.of + joined.count, [&](const QuantProducts& p) {
    return !p.epilogue.preactivation && !reads(p, written(more)) && !reads(more, written(p)) &&
           !written(p).overlaps(written(more));
  });
}

}  // namespace

void note_products(Recording& r, const QuantizeRows& rounding, const QuantProducts& products) {
  const auto kernel = find_entry(kQuantized, &QuantizedLinearTable::multiply, kCpu, DType::float32);
  JoinedProducts joined = {rounding.x, {products}, 1};
  const auto* const before = r.last<JoinedProducts>(make_joined);
  if (before && may_join(*before, rounding.x, products)) {
    const QuantProducts& first = before->of[0];
    joined = *before;
    joined.of[joined.count] = products;
    QuantProducts& added = joined.of[joined.count++];
    added.q = first.q, added.scales = first.scales, added.wide = first.wide, added.sums = first.sums;
    r.drop_last();
  } else {
    note_on_host(r, kQuantized, find_entry(kQuantized, &QuantizedLinearTable::quantize, kCpu, DType::float32),
                 DType::float32, rounding);
  }
  r.note(kQuantized, make_joined, reinterpret_cast<void (*)()>(kernel), DType::float32, joined.items(), joined.grain(),
         joined);
}

}  // namespace pyformer
