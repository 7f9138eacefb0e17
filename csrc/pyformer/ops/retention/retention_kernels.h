// What retention's programs and kernels see.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

constexpr int64_t kRetentionChunk = 64;

// The one work item: (H, kRetentionChunk + 1), decay^0 ... decay^kRetentionChunk, in float64 and rounded once.
struct RetentionPowers {
  int64_t heads;
  const void* decay;  // (H,)
  void* powers;
  int64_t* offender;  // the first head whose decay is not in (0, 1], and the decay's bits as a double; head -1: none
  int64_t items() const { return 1; }
  int64_t grain() const { return 1; }
};

struct RetentionShape {
  int64_t batch, tokens, heads, head_dim, value_dim, chunks;  // B, T, H, D, Dv
};

struct RetentionForward {
  RetentionShape shape;
  const void* q;       // (B, T, H, D)
  const void* k;       // (B, T, H, D)
  const void* v;       // (B, T, H, Dv)
  const void* powers;  // (H, kRetentionChunk + 1)
  const void* state;   // (B, H, D, Dv) or null: zeros
  void* out;           // (B, T, H, Dv)
  void* last;          // (B, H, D, Dv)
  void* states;        // (B, H, chunks + 1, D, Dv)
};

struct RetentionBackward {
  RetentionShape shape;
  const void* dout;   // (B, T, H, Dv)
  const void* dlast;  // (B, H, D, Dv)
  const void* q;
  const void* k;
  const void* v;
  const void* powers;
  const void* states;
  void* dq;
  void* dk;
  void* dv;
  void* dstate;  // (B, H, D, Dv)
};

struct RetentionTable {
  static constexpr const char* name = "retention";
  PerDtype<Program<RetentionForward>> forward;
  PerDtype<Program<RetentionBackward>> backward;
};
// The programs are the same for every set, made of its products: retention_program.cpp.
template <Isa isa>
struct KernelsOf<RetentionTable, isa> {
  static const RetentionTable& table();
};

// What the CPU's programs do beside products. Work item: a row.
struct RetentionScaleRows {  // out_i = factor_i x_i; zeros without x, x itself without factors
  int64_t rows, cols;
  const void* x;
  int64_t x_stride;
  const void* factor;
  int64_t step;  // between the rows' factors; 0: one for all
  void* out;
  int64_t out_stride;
};
struct RetentionDecayScores {  // scores_ij *= powers_(i - j) for j <= i, 0 above
  int64_t rows;
  void* scores;
  int64_t stride;
  const void* powers;
};

struct RetentionPartsTable {
  static constexpr const char* name = "retention_parts";
  static constexpr bool plain = true;
  PerDtype<Kernel<RetentionPowers>> powers;
  PerDtype<Kernel<RetentionScaleRows>> scale_rows;
  PerDtype<Kernel<RetentionDecayScores>> decay_scores;
};

}  // namespace pyformer
