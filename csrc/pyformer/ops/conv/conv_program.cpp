// The host's programs of conv, made of the sums of conv_ref.cpp or conv_cpu.cpp. 16-bit floats are widened first, their
// results rounded once.
#include <algorithm>
#include <string>
#include <vector>

#include "pyformer/base/run.h"
#include "pyformer/base/workspace.h"
#include "pyformer/core/widened.h"
#include "pyformer/ops/conv/conv_bfloat16.h"
#include "pyformer/ops/conv/conv_taps.h"
#include "pyformer/ops/matmul/panels.h"

namespace pyformer {

namespace {

constexpr int64_t kScratchBytes = 384 << 10;  // gathered terms should stay in a core's own cache
constexpr int64_t kTaskProducts = 1 << 19;    // multiply-adds below which handing out costs more than it gains

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The sums of one set, of one dtype.
struct Sums {
  DType dtype;
  int64_t tile_rows;
  Kernel<ConvSum> sum;
  Kernel<ConvWeight> weight;
};

template <Isa isa>
Sums sums_of(DType dtype) {
  return {dtype, host_entry(&ConvSumsTable::tile_rows, isa, dtype), host_entry(&ConvSumsTable::sum, isa, dtype),
          host_entry(&ConvSumsTable::weight, isa, dtype)};
}

bool all_finite(DType dtype, const void* data, int64_t count) {
  const auto over = [count]<class T>(const T* x) {
    bool finite = true;
    for (int64_t i = 0; i < count; ++i) finite &= x[i] - x[i] == T(0);
    return finite;
  };
  return dtype == DType::float64 ? over(static_cast<const double*>(data)) : over(static_cast<const float*>(data));
}

// A window with what its pointers point to.
struct Window {
  Window(const Taps& ys, const Taps& xs, int64_t channels, const int64_t* size, const int64_t* positions,
         const int64_t* step)
      : y(ys), x(xs) {
    w.height = size[0];
    w.width = size[1];
    w.channels = channels;
    w.taps_y = y.size();
    w.taps_x = x.size();
    w.step_y = step[0];
    w.step_x = step[1];
    w.dy = y.shift.data();
    w.dx = x.shift.data();
    w.rows = positions[0];
    w.cols = positions[1];
    find_slots();
  }
  Window(const Window&) = delete;

  int64_t planes_per_channel() const { return w.taps_x * w.slots; }
  int64_t scratch_elements(int64_t channels) const {  // vectors may be read past the last position
    return checked_multiply(channels * planes_per_channel(), w.plane_stride) + 4 * kLanes;
  }

  // Decides the scratch for at most `rows` rows of positions.
  void lay_out(int64_t rows) {
    // An odd number of cache lines between planes: at powers of two they would share their cache sets.
    w.plane_stride = (ceil_div(checked_multiply(rows + w.extra_rows, w.cols), kLanes) | 1) * kLanes;
    offset.clear();
    for (int64_t c = 0; c < w.channels; ++c)
      for (int64_t i = 0; i < w.taps_y; ++i)
        for (int64_t j = 0; j < w.taps_x; ++j)
          offset.push_back(((c * w.taps_x + j) * w.slots + slot[size_t(i)]) * w.plane_stride +
                           slot_row[size_t(i)] * w.cols);
    w.offset = offset.data();
  }

  const Taps y, x;
  ConvWindow w = {};

 private:
  void find_slots() {
    const int64_t least = y.size() ? *std::min_element(y.shift.begin(), y.shift.end()) : 0;
    for (int64_t shift : y.shift) {
      const int64_t first = least + (shift - least) % w.step_y;
      const auto found = std::find(slot_y.begin(), slot_y.end(), first);
      slot.push_back(found - slot_y.begin());
      if (found == slot_y.end()) slot_y.push_back(first);
      slot_row.push_back((shift - first) / w.step_y);
      w.extra_rows = std::max(w.extra_rows, slot_row.back());
    }
    w.slots = int64_t(slot_y.size());
    w.slot_y = slot_y.data();
  }

  std::vector<int64_t> slot, slot_row, slot_y, offset;
};

// weight element (g, o, c, kh, kw) as panels for sums over (c, kh, kw), or over (o, kh, kw) of those taps only.
template <class T>
void pack_weight(const ConvGeometry& g, int64_t tile_rows, const T* from, const Taps& y, const Taps& x, bool transposed,
                 T* to) {
  const int64_t m = transposed ? g.C : g.O, channels = transposed ? g.O : g.C;
  const int64_t m_stride = transposed ? g.taps() : g.C * g.taps(), c_stride = transposed ? g.C * g.taps() : g.taps();
  const int64_t panels = ceil_div(m, tile_rows), K = channels * y.size() * x.size();
  parallel_for(g.groups * panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t group = item / panels, first = panel_begin(item % panels, panels, m);
      const int64_t rows = panel_begin(item % panels + 1, panels, m) - first;
      const T* source = from + group * g.O * g.C * g.taps() + first * m_stride;
      T* out = to + (group * m + first) * K;
      for (int64_t c = 0; c < channels; ++c)
        for (int64_t kh : y.index)
          for (int64_t kw : x.index)
            for (int64_t i = 0; i < rows; ++i) *out++ = source[c * c_stride + kh * g.kernel[1] + kw + i * m_stride];
    }
  });
}

// The weights of such sums, packed, in memory of a scope.
class PackedWeight {
 public:
  PackedWeight(const ConvGeometry& g, const Sums& sums, const void* weight, const Taps& y, const Taps& x,
               bool transposed)
      : memory_(checked_multiply(g.groups * g.C * g.O * y.size() * x.size(), item_bytes(sums.dtype))) {
    const auto pack = [&]<class T>(const T* from) {
      pack_weight(g, sums.tile_rows, from, y, x, transposed, static_cast<T*>(memory_.data()));
    };
    if (sums.dtype == DType::float64)
      pack(static_cast<const double*>(weight));
    else
      pack(static_cast<const float*>(weight));
  }
  const void* data() const { return memory_.data(); }

 private:
  Workspace memory_;
};

// Runs the sums of args at all positions of the window, for images * groups.
void run_sums(const ConvGeometry& g, const Sums& sums, Window& window, ConvSum args) {
  const ConvWindow& w = window.w;
  const int64_t bytes = item_bytes(sums.dtype), image_groups = g.N * g.groups, rows = w.rows;
  if (image_groups == 0 || args.m == 0 || rows == 0 || w.cols == 0) return;
  const int64_t row_bytes = std::max<int64_t>(1, w.channels * window.planes_per_channel() * w.cols * bytes);
  const int64_t fit = std::clamp<int64_t>(kScratchBytes / row_bytes - w.extra_rows, 1, rows);
  const int64_t products = std::max<int64_t>(1, args.m * w.channels * w.taps_y * w.taps_x * w.cols);  // of a row
  const int64_t least = std::min(ceil_div(kTaskProducts, products), rows);
  const int64_t wanted = ceil_div(4 * num_threads(), image_groups);  // blocks an image
  args.row_blocks = ceil_div(rows, std::min(fit, std::max(least, rows / wanted)));
  args.block_rows = ceil_div(rows, args.row_blocks);
  args.row_blocks = ceil_div(rows, args.block_rows);
  window.lay_out(args.block_rows);
  args.window = w;
  args.groups = g.groups;
  const int64_t grain = std::max<int64_t>(1, kTaskProducts / (products * args.block_rows));
  parallel_for(image_groups * args.row_blocks, grain, [&](int64_t begin, int64_t end) {
    const Workspace scratch(window.scratch_elements(w.channels) * bytes);
    ConvSum own = args;
    own.scratch = scratch.data();
    sums.sum(own, begin, end);
  });
}

void to_result(const ConvGeometry& g, const Sums& sums, bool outside_counts, const void* image, const void* weight,
               const void* bias, void* out) {
  const Taps y = all_taps(g, 0), x = all_taps(g, 1);
  Window window(y, x, g.C, g.size, g.positions, g.stride);
  const PackedWeight packed(g, sums, weight, y, x, false);
  ConvSum args = {};
  args.outside_counts = outside_counts;
  args.m = g.O;
  args.x = image;
  args.weight = packed.data();
  args.bias = bias;
  args.out = out;
  args.out_plane = g.positions[0] * g.positions[1];
  args.out_row = g.positions[1];
  args.out_col = 1;
  run_sums(g, sums, window, args);
}

// Image rows and columns that are stride apart meet the same part of the kernel: one run of sums for each such part.
void to_image(const ConvGeometry& g, const Sums& sums, const void* result, const void* weight, const void* bias,
              void* out) {
  constexpr int64_t step[2] = {1, 1};
  for (int64_t a = 0; a < std::min(g.stride[0], g.size[0]); ++a)
    for (int64_t b = 0; b < std::min(g.stride[1], g.size[1]); ++b) {
      const Taps y = taps_meeting(g, 0, a), x = taps_meeting(g, 1, b);
      const int64_t positions[2] = {ceil_div(g.size[0] - a, g.stride[0]), ceil_div(g.size[1] - b, g.stride[1])};
      Window window(y, x, g.O, g.positions, positions, step);
      const PackedWeight packed(g, sums, weight, y, x, true);
      ConvSum args = {};
      args.m = g.C;
      args.x = result;
      args.weight = packed.data();
      args.bias = bias;
      args.out = static_cast<char*>(out) + (a * g.size[1] + b) * item_bytes(sums.dtype);
      args.out_plane = g.size[0] * g.size[1];
      args.out_row = g.stride[0] * g.size[1];
      args.out_col = g.stride[1];
      run_sums(g, sums, window, args);
    }
}

void weight_gradient(const ConvGeometry& g, const Sums& sums, bool outside_counts, const void* image,
                     const void* dresult, void* dweight, int64_t image_ranges) {
  if (image_ranges * g.weight_elements() == 0) return;
  ConvWeight args = {};
  args.outside_counts = outside_counts;
  args.images = g.N;
  args.image_ranges = image_ranges;
  args.groups = g.groups;
  args.m = g.O;
  args.x = image;
  args.dout = dresult;
  args.chain_rows = std::clamp<int64_t>(kChainLength / std::max<int64_t>(1, g.positions[1]), 1, g.positions[0]);
  args.dweight = dweight;
  Window window(all_taps(g, 0), all_taps(g, 1), g.C, g.size, g.positions, g.stride);
  window.lay_out(args.chain_rows);
  args.window = window.w;
  const int64_t bytes = item_bytes(sums.dtype);
  const int64_t channel_bytes = window.planes_per_channel() * window.w.plane_stride * bytes;
  args.channel_blocks = ceil_div(g.C, std::clamp<int64_t>(kScratchBytes / channel_bytes, 1, g.C));
  args.block_channels = ceil_div(g.C, args.channel_blocks);
  args.channel_blocks = ceil_div(g.C, args.block_channels);
  const int64_t m = padded_m(g.O);
  parallel_for(args.image_ranges * g.groups * args.channel_blocks, 1, [&](int64_t begin, int64_t end) {
    const Workspace terms(window.scratch_elements(args.block_channels) * bytes);
    const Workspace packed_dout(args.chain_rows * g.positions[1] * m * bytes);
    const Workspace sums_of_task(args.block_channels * g.taps() * m * bytes);
    ConvWeight own = args;
    own.scratch = terms.data();
    own.packed_dout = packed_dout.data();
    own.sums = sums_of_task.data();
    sums.weight(own, begin, end);
  });
}

// ---- the programs -------------------------------------------------------------------------------------------------

// The sums of a set; ref's where what is not there meets factors that are not all finite.
template <Isa isa>
Sums sums_for(const ConvGeometry& g, DType dtype, bool outside_counts, const void* factors, int64_t count) {
  const bool plain = !outside_counts && !all_inside(g) && !all_finite(dtype, factors, count);
  return plain ? sums_of<Isa::ref>(dtype) : sums_of<isa>(dtype);
}

template <Isa isa, bool transposed>
void map(const ConvMap& a) {
  if (a.rounds) return transposed ? conv_to_image_bfloat16(isa, a) : conv_to_result_bfloat16(isa, a);
  const ConvGeometry& g = a.g;
  const int64_t from_count = transposed ? g.result_elements() : g.image_elements();
  const int64_t to_count = transposed ? g.image_elements() : g.result_elements();
  const Widened from(a.from, from_count, a.dtype), weight(a.weight, g.weight_elements(), a.dtype);
  const Widened bias(a.bias, g.groups * (transposed ? g.C : g.O), a.dtype);
  const RoundedOnce to(a.to, to_count, a.dtype);
  const DType wide = accumulator(a.dtype);
  const bool outside_counts = !transposed && a.outside_counts;
  const Sums sums = sums_for<isa>(g, wide, outside_counts, weight.data(), g.weight_elements());
  if (transposed)
    to_image(g, sums, from.data(), weight.data(), bias.data(), to.data());
  else
    to_result(g, sums, outside_counts, from.data(), weight.data(), bias.data(), to.data());
  to.round();
}

template <Isa isa>
void gradient(const ConvWeightGradient& a) {
  if (a.rounds) return conv_weight_gradient_bfloat16(isa, a);
  const Widened image(a.image, a.g.image_elements(), a.dtype), dresult(a.dresult, a.g.result_elements(), a.dtype);
  const Sums sums = sums_for<isa>(a.g, accumulator(a.dtype), a.outside_counts, dresult.data(), a.g.result_elements());
  weight_gradient(a.g, sums, a.outside_counts, image.data(), dresult.data(), a.dweight, a.image_ranges());
}

template <class Entry>
constexpr PerDtype<Entry> for_floats(Entry entry) {
  return {{entry, entry, entry, entry}};
}

}  // namespace

template <Isa isa>
const ConvTable& KernelsOf<ConvTable, isa>::table() {
  static constexpr ConvTable table = {for_floats<Program<ConvMap>>(map<isa, false>),
                                      for_floats<Program<ConvMap>>(map<isa, true>),
                                      for_floats<Program<ConvWeightGradient>>(gradient<isa>)};
  return table;
}
template struct KernelsOf<ConvTable, Isa::ref>;
template struct KernelsOf<ConvTable, Isa::portable>;
template struct KernelsOf<ConvTable, Isa::avx2>;
template struct KernelsOf<ConvTable, Isa::avx512>;

}  // namespace pyformer
