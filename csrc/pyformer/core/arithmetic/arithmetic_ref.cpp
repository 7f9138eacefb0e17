// The library's own arithmetic, plain loops: fill, sums of gradients, conversions, copies.
#include "pyformer/core/arithmetic/arithmetic_kernels.h"

#include <cstring>

#include "pyformer/core/arithmetic/convert.h"

namespace pyformer::PF_ISA {

template <class T>
static void fill(const Fill& a, int64_t begin, int64_t end) {
  T value;
  std::memcpy(&value, &a.bits, sizeof(T));
  T* out = static_cast<T*>(a.out);
  for (int64_t i = begin; i < end; ++i) out[i] = value;
}

template <class T>
static void add(const AddGradients& args, int64_t begin, int64_t end) {
  const auto a = in<T>(args.a), b = in<T>(args.b);
  const auto out = to<T>(args.out);
  for (int64_t i = begin; i < end; ++i) out[i] = a[i] + b[i];
}

// ---- cast -----------------------------------------------------------------------------------------------------

template <class From>
static void cast(const Cast& a, int64_t begin, int64_t end) {
  convert_elements<From>(a, begin, end);
}

// ---- sums and checks ------------------------------------------------------------------------------------------

template <class T>
static void sum_partials(const SumPartials& a, int64_t begin, int64_t end) {
  const T* partials = static_cast<const T*>(a.partials);
  T* sum = static_cast<T*>(a.out);
  for (int64_t c = begin; c < end; ++c) sum[c] = a.chunks ? partials[c] : T(0);
  for (int64_t p = 1; p < a.chunks; ++p)
    for (int64_t c = begin; c < end; ++c) sum[c] = sum[c] + partials[p * a.cols + c];
}

static void check_ids(const CheckIds& a, int64_t, int64_t) {
  int64_t counted = 0;
  a.offender[0] = -1;
  for (int64_t i = 0; i < a.size; ++i) {
    const int64_t id = a.ids[i];
    if (a.has_ignored && id == a.ignored) continue;
    ++counted;
    if (id >= 0 && id < a.limit) continue;
    if (a.offender[0] < 0) a.offender[0] = i, a.offender[1] = id;
    a.ids[i] = 0;
  }
  if (a.counted) *a.counted = counted;
}

// ---- strided copies ---------------------------------------------------------------------------------------------

// Where the regions begin that an index over the first axes selects.
struct Start {
  int64_t to = 0, from = 0;
};
static Start start_of(const StridedCopy& a, int axes, int64_t index) {
  Start start;
  for (int i = axes - 1; i >= 0; --i) {
    const int64_t at = index % a.extents[i];
    index /= a.extents[i];
    start.to += at * a.to_strides[i];
    start.from += at * a.from_strides[i];
  }
  return start;
}

template <class T>
static void copy_row(int64_t n, T* to, int64_t to_stride, const T* from, int64_t from_stride) {
  if (to_stride == 1 && from_stride == 1) {
    std::memcpy(to, from, size_t(n) * sizeof(T));
  } else {
    for (int64_t i = 0; i < n; ++i) to[i * to_stride] = from[i * from_stride];
  }
}

template <class T>
static void copy_rows(const StridedCopy& a, int64_t begin, int64_t end) {
  const int last = a.ndim - 1;
  const int64_t n = a.extents[last], to_step = a.to_strides[last], from_step = a.from_strides[last];
  const int64_t segments = a.segments();
  for (int64_t item = begin; item < end; ++item) {
    const bool whole = segments == 1;
    const Start row = start_of(a, last, whole ? item : item / segments);
    const int64_t first = whole ? 0 : item % segments * a.kSegment;
    copy_row(n - first < a.kSegment ? n - first : a.kSegment, static_cast<T*>(a.to) + row.to + first * to_step, to_step,
             static_cast<const T*>(a.from) + row.from + first * from_step, from_step);
  }
}

template <class T>
static void copy_tiles(const StridedCopy& a, int64_t begin, int64_t end) {
  constexpr int64_t kTile = StridedCopy::kTile, kStrip = StridedCopy::kStrip;
  const int last = a.ndim - 1;
  const int64_t rows = a.extents[last - 1], cols = a.extents[last];
  const int64_t to_step = a.to_strides[last - 1], from_step = a.from_strides[last];
  const int64_t row_strips = a.row_strips(), strips = row_strips * ((cols + kStrip - 1) / kStrip);
  for (int64_t item = begin; item < end; ++item) {
    const Start plane = start_of(a, last - 1, item / strips);
    const int64_t first_row = item % strips % row_strips * kTile;
    const int64_t height = rows - first_row < kTile ? rows - first_row : kTile;
    const int64_t first_col = item % strips / row_strips * kStrip;
    const int64_t last_col = cols < first_col + kStrip ? cols : first_col + kStrip;
    T tile[kTile][kTile];  // in between: lines a power of two apart would drive each other out of the cache
    for (int64_t col = first_col; col < last_col; col += kTile) {
      const int64_t width = last_col - col < kTile ? last_col - col : kTile;
      const T* source = static_cast<const T*>(a.from) + plane.from + first_row + col * from_step;
      for (int64_t c = 0; c < width; ++c)
        for (int64_t r = 0; r < height; ++r) tile[r][c] = source[c * from_step + r];
      for (int64_t r = 0; r < height; ++r)
        std::memcpy(static_cast<T*>(a.to) + plane.to + (first_row + r) * to_step + col, tile[r],
                    size_t(width) * sizeof(T));
    }
  }
}

static constexpr ArithmeticTable kTable = {
    per_item_size<Kernel<Fill>>([]<class T>() -> Kernel<Fill> { return fill<T>; }),
    for_each_float<Kernel<AddGradients>>([]<class T>() -> Kernel<AddGradients> { return add<T>; }),
    {{cast<float>, cast<double>, cast<BFloat16>, cast<Float16>, cast<int64_t>, cast<int32_t>, cast<bool>, cast<int8_t>,
      cast<uint8_t>}},
    {{sum_partials<float>, sum_partials<double>}},
    {{nullptr, nullptr, nullptr, nullptr, check_ids}},
    per_item_size<Kernel<StridedCopy>>([]<class T>() -> Kernel<StridedCopy> { return copy_rows<T>; }),
    per_item_size<Kernel<StridedCopy>>([]<class T>() -> Kernel<StridedCopy> { return copy_tiles<T>; })};

}  // namespace pyformer::PF_ISA

namespace pyformer {
template <>
const ArithmeticTable& KernelsOf<ArithmeticTable, PF_ISA::kIsa>::table() {
  return PF_ISA::kTable;
}
}  // namespace pyformer
