// What conv's kernels see: sums over k = (channel, tap_y, tap_x) at positions (i, j), row-major.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

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

// Work item: block_rows rows of positions of one group of one image, all m sums each; items are (image, group, block).
struct ConvSum {
  ConvWindow window;
  int64_t groups, row_blocks, block_rows, m;
  const void* x;       // (images, groups, channels, height, width)
  const void* weight;  // (groups, panels): [k][rows of the panel], panels as panel_begin() cuts m into tile_rows
  const void* bias;    // (groups, m) or null
  void* out;           // (images, groups, m) planes
  int64_t out_plane, out_row, out_col;  // strides of planes and positions
  void* scratch;
};

// Work item: the images of one range, some channels of one group; items are (range, group, channel block). Sums run
// over positions: dweight[m][k] = sum dout[m][position] * term k at the position.
struct ConvWeight {
  ConvWindow window;  // offset is that of the first channel block
  int64_t images, image_ranges, groups, channel_blocks, block_channels, m;
  int64_t chain_rows;  // rows of positions that make a chain
  const void* x;       // (images, groups, channels, height, width)
  const void* dout;    // (images, groups, m, rows, cols)
  void* dweight;       // (image_ranges, groups, m, k)
  void* scratch;       // gathered x, dout as [position][padded m], sums as [k][padded m]
  void* packed_dout;
  void* sums;
};

// m rounded up to whole vectors of every kind.
inline __attribute__((always_inline)) int64_t padded_m(int64_t m) { return (m + kLanes - 1) / kLanes * kLanes; }

struct ConvKernels {  // each indexed [float32, float64]
  int64_t tile_rows[2];
  Kernel<ConvSum> sum[2];
  Kernel<ConvWeight> weight[2];
};
template <Isa>
const ConvKernels& conv_kernels();  // specialised in conv_ref.cpp and, per set, conv_cpu.cpp

}  // namespace pyformer
