// Blocks of quantised numbers, as files have them: what their bytes stand for. For *_ref.cpp and *_cpu.cpp.
#pragma once
#include "pyformer/base/element.h"
#include "pyformer/ops/quantized_linear/quantized_linear_kernels.h"

namespace pyformer::PF_ISA {

// A block: q of each number, and of each group its scale and, where the format has one, its minimum.
struct QuantBlock {
  uint8_t q[kQuantMaxBlock];
  float scales[kQuantMaxGroups], minima[kQuantMaxGroups];
};

PF_INLINE float half_at(const uint8_t* p) { return to_float(Float16{uint16_t(p[0] | p[1] << 8)}); }

// 32 numbers of 4 bits in 16 bytes: all low halves, then all high ones.
PF_INLINE void read_nibbles(const uint8_t* p, uint8_t* q) {
  for (int j = 0; j < 16; ++j) {
    q[j] = p[j] & 15;
    q[j + 16] = p[j] >> 4;
  }
}

// The fifth bits of 32 numbers, in 4 bytes.
PF_INLINE void add_fifth_bits(const uint8_t* p, uint8_t* q) {
  for (int j = 0; j < 32; ++j) q[j] |= uint8_t((p[j / 8] >> (j % 8) & 1) << 4);
}

// Q4_K and Q5_K begin with d, dmin and 8 scales and 8 minima of 6 bits in 12 bytes.
static inline void read_k_scales(const uint8_t* p, QuantBlock* b) {
  const float d = half_at(p), dmin = half_at(p + 2);
  const uint8_t* s = p + 4;
  for (int j = 0; j < 8; ++j) {
    const int scale = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
    const int minimum = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | (s[j] >> 6) << 4;
    b->scales[j] = d * float(scale);
    b->minima[j] = -(dmin * float(minimum));
  }
}

// Groups 2i and 2i + 1 are the low and the high halves of bytes 32i to 32i + 31.
static inline void read_k_nibbles(const uint8_t* p, uint8_t* q) {
  for (int i = 0; i < 4; ++i)
    for (int l = 0; l < 32; ++l) {
      q[64 * i + l] = p[32 * i + l] & 15;
      q[64 * i + 32 + l] = p[32 * i + l] >> 4;
    }
}

static inline void read_q6_k(const uint8_t* p, QuantBlock* b) {
  const uint8_t* high = p + 128;
  const int8_t* scales = reinterpret_cast<const int8_t*>(p + 192);
  const float d = half_at(p + 208);
  for (int half = 0; half < 2; ++half)
    for (int l = 0; l < 32; ++l) {
      const uint8_t a = p[64 * half + l], c = p[64 * half + 32 + l], h = high[32 * half + l];
      uint8_t* q = b->q + 128 * half + l;
      q[0] = uint8_t((a & 15) | (h & 3) << 4);
      q[32] = uint8_t((c & 15) | (h >> 2 & 3) << 4);
      q[64] = uint8_t(a >> 4 | (h >> 4 & 3) << 4);
      q[96] = uint8_t(c >> 4 | (h >> 6) << 4);
    }
  for (int j = 0; j < 16; ++j) b->scales[j] = d * float(scales[j]);
}

// What 4 bits of MXFP4 (E2M1, doubled) and of IQ4_NL stand for, above the format's zero.
static constexpr uint8_t kE2M1[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};
static constexpr uint8_t kIq4Nl[16] = {1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241};

constexpr int largest(const uint8_t (&table)[16]) {
  int most = 0;
  for (const uint8_t q : table) most = q > most ? q : most;
  return most;
}
static_assert(largest(kE2M1) == kQuantFormats[int(QuantFormat::mxfp4)].most);
static_assert(largest(kIq4Nl) == kQuantFormats[int(QuantFormat::iq4_nl)].most);

PF_INLINE void look_up(const uint8_t (&table)[16], const uint8_t* p, uint8_t* q) {
  read_nibbles(p, q);
  for (int j = 0; j < 32; ++j) q[j] = table[q[j]];
}

static inline void read_block(QuantFormat format, const uint8_t* p, QuantBlock* b) {
  switch (format) {
    case QuantFormat::q8:
    case QuantFormat::q8_0:
      b->scales[0] = half_at(p);
      for (int j = 0; j < kQuantFormats[int(format)].block; ++j) b->q[j] = p[2 + j] ^ 0x80;
      return;
    case QuantFormat::q4_0:
      b->scales[0] = half_at(p);
      return read_nibbles(p + 2, b->q);
    case QuantFormat::q4_1:
      b->scales[0] = half_at(p);
      b->minima[0] = half_at(p + 2);
      return read_nibbles(p + 4, b->q);
    case QuantFormat::q5_0:
      b->scales[0] = half_at(p);
      read_nibbles(p + 6, b->q);
      return add_fifth_bits(p + 2, b->q);
    case QuantFormat::q5_1:
      b->scales[0] = half_at(p);
      b->minima[0] = half_at(p + 2);
      read_nibbles(p + 8, b->q);
      return add_fifth_bits(p + 4, b->q);
    case QuantFormat::q4_k:
      read_k_scales(p, b);
      return read_k_nibbles(p + 16, b->q);
    case QuantFormat::q5_k:
      read_k_scales(p, b);
      read_k_nibbles(p + 48, b->q);
      for (int j = 0; j < 256; ++j) b->q[j] |= uint8_t((p[16 + j % 32] >> (j / 32) & 1) << 4);
      return;
    case QuantFormat::q6_k:
      return read_q6_k(p, b);
    case QuantFormat::mxfp4:  // half of 2^(e - 127), since the table holds the doubles
      b->scales[0] = float_of_bits(p[0] < 2 ? 0x00200000u << p[0] : uint32_t(p[0] - 1) << 23);
      return look_up(kE2M1, p + 1, b->q);
    case QuantFormat::iq4_nl:
      b->scales[0] = half_at(p);
      return look_up(kIq4Nl, p + 2, b->q);
  }
}

// ---- panels -------------------------------------------------------------------------------------------------------

// A panel holds the bytes of a row's numbers, as its blocks have them, four by four: where byte 0, 4, 8, ... of a block
// lies. Bytes of 8 bits have their sign turned.
PF_INLINE int64_t quad_in_block(int64_t row, int64_t byte) { return byte * 16 + row * 4; }
PF_INLINE void copy_quad(int bits, const uint8_t* from, uint8_t* to) {
  uint32_t quad;
  __builtin_memcpy(&quad, from, 4);
  if (bits == 8) quad ^= 0x80808080u;
  __builtin_memcpy(to, &quad, 4);
}

// The blocks of a row, as files have them, from wherever the matrix has them: a pointer, or written to `bytes`.
static inline const uint8_t* row_blocks(const QuantMatrix& w, int64_t row, uint8_t* bytes) {
  const QuantFormatRow f = w.row();
  if (!f.bits) return w.data + row * w.row_bytes();
  const uint8_t* panel = w.data + row / 16 * w.panel_bytes();
  const int64_t lane = row % 16, head = f.has_minimum ? 4 : 2, numbers = f.block * f.bits / 8;
  const int64_t blocks = w.blocks();
  for (int64_t i = 0; i < blocks; ++i) {
    uint8_t* const to = bytes + i * f.bytes;
    const uint8_t* const quants = panel + w.quants_at(i);
    __builtin_memcpy(to, panel + w.scales_at(i) + lane * 2, 2);
    if (f.has_minimum) __builtin_memcpy(to + 2, panel + w.minima_at(i) + lane * 2, 2);
    for (int64_t j = 0; j < numbers; j += 4) copy_quad(f.bits, quants + quad_in_block(lane, j), to + head + j);
  }
  return bytes;
}

}  // namespace pyformer::PF_ISA
