// What quantized_linear's kernels see, and the formats.
#pragma once
#include "pyformer/base/kernel.h"
#include "pyformer/ops/matmul/matmul_kernels.h"

namespace pyformer {

// q8 is our own, the others GGUF's.
enum class QuantFormat : uint8_t { q8, q8_0, q4_0, q4_1, q5_0, q5_1, q4_k, q5_k, q6_k, mxfp4, iq4_nl };

// A row of a matrix is blocks of `block` numbers in `bytes` bytes; a scale is that of `group` numbers. A number is
// scale * (q - zero), + minimum where there is one. x has a scale for each 32 numbers. A run is as many as have one
// scale in both.
struct QuantFormatRow {
  const char* name;
  int64_t block, bytes;
  int bits;  // of q in panels; 0: there are none, products unpack blocks
  int64_t group;
  int zero;
  bool has_minimum;
  int most;  // the largest q
  constexpr int64_t run() const { return group < 32 ? group : 32; }
};
constexpr int kQuantFormatCount = 11;
constexpr QuantFormatRow kQuantFormats[kQuantFormatCount] = {
    {"q8", 64, 66, 8, 64, 128, false, 255},    {"Q8_0", 32, 34, 8, 32, 128, false, 255},
    {"Q4_0", 32, 18, 4, 32, 8, false, 15},     {"Q4_1", 32, 20, 4, 32, 0, true, 15},
    {"Q5_0", 32, 22, 0, 32, 16, false, 31},    {"Q5_1", 32, 24, 0, 32, 0, true, 31},
    {"Q4_K", 256, 144, 0, 32, 0, true, 15},    {"Q5_K", 256, 176, 0, 32, 0, true, 31},
    {"Q6_K", 256, 210, 0, 16, 32, false, 63},  {"MXFP4", 32, 17, 0, 32, 12, false, 24},
    {"IQ4_NL", 32, 18, 0, 32, 128, false, 241}};
constexpr int64_t kQuantXGroup = 32;                           // numbers of x that have a scale
constexpr int kQuantXMost = 127;                               // the largest magnitude of x, and of its fine parts
constexpr float kQuantWideFrom = 2;                            // times the mean of the groups' largest magnitudes
constexpr int kQuantFine = 254;                                // a wide number is 254 q + fine
constexpr int64_t kQuantMaxBlock = 256, kQuantMaxGroups = 16;  // numbers and groups of a block
constexpr int64_t kQuantHead = 64;                             // bytes of scales and minima in a panel

// The matrix (n, k). Where the format has panels, each is 16 rows, as it is read from its first byte to its last: a
// head of 64 bytes with [2][16] float16, the scales and the minima of a group or the scales of two, then the q of
// these; the second group of the last head may be missing. A group's q of 8 bits lie [k / 4][16][4]. Those of 4 bits
// lie [k / 32][4][16][4]: byte (i, row, j) has the number at 4 i + j in its low half, that at 16 + 4 i + j in its high
// one.
struct QuantMatrix {
  QuantFormat format;
  int64_t n, k;
  const uint8_t* data;
  constexpr const QuantFormatRow& row() const { return kQuantFormats[int(format)]; }
  constexpr int64_t blocks() const { return (k + row().block - 1) / row().block; }
  constexpr int64_t width() const { return blocks() * row().block; }  // k, filled up
  constexpr int64_t groups() const { return width() / row().group; }
  constexpr int64_t runs() const { return width() / row().run(); }
  constexpr int64_t row_bytes() const { return blocks() * row().bytes; }
  constexpr int64_t panels() const { return (n + 15) / 16; }
  // Where a panel has the parts of a group, which is a block there. Heads are counted by shifts: packing is busy here.
  constexpr bool is_second(int64_t group) const { return group & !row().has_minimum; }
  constexpr int64_t heads_up_to(int64_t group) const { return (group >> !row().has_minimum) + 1; }
  constexpr int64_t group_bytes() const { return 16 * row().group * row().bits / 8; }
  constexpr int64_t quants_at(int64_t group) const { return heads_up_to(group) * kQuantHead + group * group_bytes(); }
  constexpr int64_t head_at(int64_t group) const { return quants_at(group - is_second(group)) - kQuantHead; }
  constexpr int64_t scales_at(int64_t group) const { return head_at(group) + 32 * is_second(group); }
  constexpr int64_t minima_at(int64_t group) const { return head_at(group) + 32; }
  constexpr int64_t panel_bytes() const { return quants_at(groups() - 1) + group_bytes(); }
  constexpr int64_t data_bytes() const { return row().bits ? panels() * panel_bytes() : n * row_bytes(); }
};

// Work item: one row of x.
struct QuantizeRows {
  QuantMatrix w;  // for its format and k
  int64_t rows;
  const float* x;  // (rows, k)
  int8_t* q;       // (2, rows, width): numbers of 8 bits, or the coarse parts of wide ones; the fine parts
  float* scales;   // (rows, width / kQuantXGroup)
  uint8_t* wide;   // (rows, width / kQuantXGroup): whether a group has fine parts
  int32_t* sums;   // (rows, runs): of the numbers
  int64_t items() const { return rows; }
  int64_t grain() const { return grain_of_rows(w.k); }
};

// Work item: a panel of w times a range of kRows rows of x.
struct QuantProducts {
  static constexpr int64_t kRows = 256;
  QuantMatrix w;
  int64_t rows;
  const int8_t* q;
  const float* scales;
  const uint8_t* wide;
  const int32_t* sums;
  float* out;  // (rows, n)
  Epilogue epilogue;
  void* scratch = nullptr;
  int64_t ranges() const { return (rows + kRows - 1) / kRows; }
  int64_t items() const { return w.panels() * ranges(); }
  int64_t grain() const {
    if (rows == 1) return w.panels() < 64 ? 2 : w.panels() < 256 ? 4 : 8;  // in pairs, an even share for each thread
    const int64_t cost = 16 * w.k * (rows < kRows ? rows : kRows), items = (int64_t(1) << 15) / (cost < 1 ? 1 : cost);
    return items < 1 ? 1 : items;
  }
  // A panel unpacked: q of 8 bits, then scales and minima as float32.
  int64_t unpacked_bytes() const { return 16 * w.width() + 2 * 64 * w.groups(); }
  int64_t scratch_bytes(DType) const { return w.row().bits ? 0 : unpacked_bytes(); }
};

// Work item: one id.
struct QuantRows {
  QuantMatrix w;
  int64_t count;
  const int64_t* ids;  // null: 0, 1, 2, ...
  float* out;          // (count, k)
  int64_t items() const { return count; }
  int64_t grain() const { return grain_of_rows(w.k); }
};

// Work item: a panel. Between panels and blocks (n, row_bytes).
struct QuantPack {
  QuantMatrix w;
  const uint8_t* blocks;
  uint8_t* panels;
  int64_t items() const { return w.panels(); }
  int64_t grain() const { return grain_of_rows(16 * w.k); }
};
struct QuantUnpack {
  QuantMatrix w;
  uint8_t* blocks;
  int64_t items() const { return w.n; }
  int64_t grain() const { return grain_of_rows(w.k); }
};

// Work item: a row of a float matrix (n, k), to blocks of q8, Q8_0 or Q4_1.
struct QuantMake {
  QuantMatrix w;
  const float* weight;
  uint8_t* blocks;
  int64_t items() const { return w.n; }
  int64_t grain() const { return grain_of_rows(16 * w.k); }
};

struct QuantizedLinearTable {
  static constexpr const char* name = "quantized_linear";
  PerDtype<Kernel<QuantizeRows>> quantize;
  PerDtype<Kernel<QuantProducts>> multiply;
  PerDtype<Kernel<QuantRows>> rows;
  PerDtype<Kernel<QuantPack>> pack;
  PerDtype<Kernel<QuantUnpack>> unpack;
  PerDtype<Kernel<QuantMake>> make;
};

// Notes both in a recording. Products that follow each other on the same x become one loop, after one rounding of it.
class Recording;
void note_products(Recording& r, const QuantizeRows& rounding, const QuantProducts& products);

}  // namespace pyformer
