// What conv's programs and kernels see: sums over k = (channel, tap_y, tap_x) at positions (i, j), row-major.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

// Both ops seen as the map of `image` (N, groups * C, H, W) to `result` (N, groups * O, rows, cols) by
// weight (groups * O, C, KH, KW): conv2d is that map, conv_transpose2d its transpose.
struct ConvGeometry {
  int64_t N, groups, C, O;
  int64_t size[2], positions[2], kernel[2];  // of an image plane, a result plane, the kernel
  int64_t stride[2], padding[2], dilation[2];

  constexpr int64_t taps() const { return kernel[0] * kernel[1]; }
  constexpr int64_t image_elements() const { return N * groups * C * size[0] * size[1]; }
  constexpr int64_t result_elements() const { return N * groups * O * positions[0] * positions[1]; }
  constexpr int64_t weight_elements() const { return groups * O * C * taps(); }
};

// image -> result, or result -> image.
struct ConvMap {
  ConvGeometry g;
  DType dtype;
  const void* from;
  const void* weight;
  const void* bias;  // null: zeros
  void* to;
  bool outside_counts;  // image -> result only: what lies outside the image is zeros, else there is nothing
  bool rounds;          // float32 operands are rounded to bfloat16: mixed precision
};

// The gradient of the weight: a sum for each range of images.
struct ConvWeightGradient {
  static constexpr int64_t kImageRanges = 8;
  ConvGeometry g;
  DType dtype;
  const void* image;
  const void* dresult;
  void* dweight;                // (image_ranges, weight), in the accumulator's dtype
  bool outside_counts, rounds;  // as in ConvMap
  constexpr int64_t image_ranges() const { return g.N < kImageRanges ? g.N : kImageRanges; }
};

struct ConvTable {
  static constexpr const char* name = "conv";
  PerDtype<Program<ConvMap>> to_result, to_image;
  PerDtype<Program<ConvWeightGradient>> weight_gradient;
};
template <Isa isa>
struct KernelsOf<ConvTable, isa> {
  static const ConvTable& table();
};

// Term k at (i, j) is element (i * step_y + dy[tap_y], j * step_x + dx[tap_x]) of the channel's plane, 0 outside it.
//
// For vector code some rows of positions are gathered into a scratch where term k of consecutive positions lies
// contiguous from offset[k] on: a plane for each (channel, tap_x, slot). Slots are the residues of dy modulo step_y;
// row r of a slot holds plane row (first_row + r) * step_y + slot_y[slot], so taps of one slot share their rows.
struct ConvWindow {
  int64_t height, width;  // of a plane
  int64_t channels, taps_y, taps_x;
  int64_t step_y, step_x;
  const int64_t* dy;   // (taps_y,)
  const int64_t* dx;   // (taps_x,)
  int64_t rows, cols;  // of positions

  int64_t slots, extra_rows, plane_stride;  // a slot has extra_rows more rows than positions are gathered
  const int64_t* slot_y;                    // (slots,)
  const int64_t* offset;                    // (channels, taps_y, taps_x)
};

// Where outside_counts is false, only ref's sums take an infinity or NaN times what lies outside for 0: the programs
// choose them.

// Work item: block_rows rows of positions of one group of one image, all m sums each; items are (image, group, block).
struct ConvSum {
  ConvWindow window;
  bool outside_counts;
  int64_t groups, row_blocks, block_rows, m;
  const void* x;       // (images, groups, channels, height, width)
  const void* weight;  // (groups, panels): [k][rows of the panel], panels as panel_begin() cuts m into tile_rows
  const void* bias;    // (groups, m) or null
  void* out;           // (images, groups, m) planes
  int64_t out_plane, out_row, out_col;  // strides of planes and positions
  void* scratch;                        // of a task
};

// Work item: the images of one range, some channels of one group; items are (range, group, channel block). Sums run
// over positions: dweight[m][k] = sum dout[m][position] * term k at the position.
struct ConvWeight {
  ConvWindow window;  // offset is that of the first channel block
  bool outside_counts;
  int64_t images, image_ranges, groups, channel_blocks, block_channels, m;
  int64_t chain_rows;  // rows of positions that make a chain
  const void* x;       // (images, groups, channels, height, width)
  const void* dout;    // (images, groups, m, rows, cols)
  void* dweight;       // (image_ranges, groups, m, k)
  void* scratch;       // of a task: gathered x, dout as [position][padded m], sums as [k][padded m]
  void* packed_dout;
  void* sums;
};

// m rounded up to whole vectors of every kind.
inline __attribute__((always_inline)) int64_t padded_m(int64_t m) { return (m + kLanes - 1) / kLanes * kLanes; }

// What the host's programs are made of.
struct ConvSumsTable {
  static constexpr const char* name = "conv_sums";
  PerDtype<int64_t> tile_rows;
  PerDtype<Kernel<ConvSum>> sum;
  PerDtype<Kernel<ConvWeight>> weight;
};

}  // namespace pyformer
