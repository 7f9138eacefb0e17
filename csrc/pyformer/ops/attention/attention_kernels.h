// What attention's kernels see.
#pragma once
#include "pyformer/base/kernel.h"

namespace pyformer {

struct BFloat16ProductTable;

// Part of the order of sums: keys and (backward) queries are taken in blocks of 64 from index 0, the forward sums are
// split after every 256 keys, and the sums over queries for dk and dv after every 2,048 queries.
constexpr int64_t kAttentionBlock = 64;
constexpr int64_t kAttentionKeyRange = 256;
constexpr int64_t kAttentionQueryChunk = 2048;
// How many rows a forward task takes, and up to how many of a key head count as few; no influence on results.
constexpr int64_t kAttentionRowBlock = 256;
constexpr int64_t kAttentionFewRows = 4;

// In elements; the D, or Dv, elements of one token's head are contiguous.
struct AttentionStrides {
  int64_t batch, token, head;
};

struct AttentionInput {
  int64_t batch, heads, key_heads, queries, keys;  // B, H, Hkv, Tq, Tk; H = Hkv * group
  int64_t head_dim, value_dim;                     // D, Dv
  double scale;
  bool causal;
  int64_t window;               // 0: none
  const int64_t* key_lengths;   // (B,), checked, or null: Tk
  const int64_t* query_offset;  // (B,) or null: the row's key length - Tq
  const void* q;                // (B, Tq, H, D)
  const void* k;                // (B, Tk, Hkv, D)
  const void* v;                // (B, Tk, Hkv, Dv)
  AttentionStrides q_strides, k_strides, v_strides;
  const bool* mask_allowed;  // broadcast to (B, H, Tq, Tk) by the strides below, or null
  const void* mask_added;    // likewise; -inf forbids
  bool mask_wide;            // mask_added is in the accumulator's dtype, not in that of q
  int64_t mask_batch, mask_head, mask_query, mask_key;
};

// Work item: task_heads key heads of a batch row (the last of them what is left), and a block of kAttentionRowBlock of
// the Tq * group rows (query-major) that each has; blocks from the last to the first, as causal ones differ in work.
// task_heads is no influence on results, and 1 unless all rows of the task are at most kAttentionRowBlock.
// How a task is cut is the program's matter (attention_program.cpp): an op leaves task_heads, task_ranges, partial and
// workspace as they are.
// With task_ranges > 0 there is one block, and an item is one of so many key ranges of it: its sums go to `partial`.
// row_max, row_sum and partial are in the accumulator's dtype; so is out where `wide`.
// products: of bfloat16, by the kernels of the CPU's set in use; the plain loops do without. rounds_by_instruction: the
// CPU has VCVTNE2PS2BF16.
struct AttentionForward {
  AttentionInput in;
  void* out;  // (B, Tq, H, Dv)
  AttentionStrides out_strides;
  void* row_max;  // (B, H, Tq)
  void* row_sum;  // (B, H, Tq)
  bool wide = false;
  int64_t task_heads = 1, task_ranges = 0;
  void* partial = nullptr;  // (B, H, Tq, task_ranges, Dv + 2): o, m, l; where l is 0 there is no o
  const BFloat16ProductTable* products = nullptr;
  bool rounds_by_instruction = false;
  void* workspace = nullptr;  // one thread's, attention_forward_workspace() elements of the accumulator's dtype, with
                              // products attention_bfloat16_space.h
};

// Work item: a query head of a batch row and a chunk of kAttentionQueryChunk queries, the last chunks first.
struct AttentionBackward {
  AttentionInput in;
  const void* dout;  // (B, Tq, H, Dv)
  const void* out;   // (B, Tq, H, Dv)
  const void* row_max;
  const void* row_sum;
  void* dq;  // (B, Tq, H, D) or null: not wanted
  void* dk;  // (B, Tk, Hkv, D) or null: neither dk nor dv is wanted. For kernels, with several partials (B, Hkv,
             // partials, Tk, D) in the accumulator's dtype
  void* dv;  // as dk, with Dv
  AttentionStrides dout_strides, out_strides, dq_strides, dk_strides, dv_strides;
  bool wide = false;  // out, dq, dk and dv are in the accumulator's dtype
  const BFloat16ProductTable* products = nullptr;
  bool rounds_by_instruction = false;
  void* workspace = nullptr;  // one thread's, as above with attention_backward_workspace()
};

// Adds the partials of dk or dv. Work item: one key of a key head of a batch row.
struct AttentionSum {
  int64_t key_heads, keys, width, partials;  // D or Dv
  const void* partial;                       // (B, Hkv, partials, Tk, width)
  void* sum;                                 // (B, Tk, Hkv, width)
  AttentionStrides sum_strides;
  bool wide = false;
};

static inline int64_t attention_row_blocks(const AttentionInput& in) {  // of one key head of a batch row
  const int64_t rows = in.queries * (in.heads / in.key_heads);
  return (rows + kAttentionRowBlock - 1) / kAttentionRowBlock;
}
static inline int64_t attention_query_chunks(const AttentionInput& in) {
  return in.queries <= kAttentionQueryChunk ? 1 : (in.queries + kAttentionQueryChunk - 1) / kAttentionQueryChunk;
}
static inline int64_t attention_partials(const AttentionInput& in) {
  return in.heads / in.key_heads * attention_query_chunks(in);
}
static inline int64_t attention_padded(int64_t width) { return (width + 15) / 16 * 16; }
static inline int64_t attention_forward_items(const AttentionInput& in, int64_t task_heads, int64_t task_ranges) {
  const int64_t tasks = in.batch * ((in.key_heads + task_heads - 1) / task_heads);
  return tasks * (task_ranges ? task_ranges : attention_row_blocks(in));
}
static inline int64_t attention_forward_workspace(const AttentionInput& in, int64_t task_heads) {
  const int64_t rows = in.queries * (in.heads / in.key_heads) * task_heads;
  const int64_t block = rows < kAttentionRowBlock ? rows : kAttentionRowBlock;
  return attention_padded(in.head_dim) * (block + kAttentionBlock) +
         attention_padded(in.value_dim) * (2 * block + kAttentionBlock) + kAttentionBlock * kAttentionBlock +
         block * (kLanes + 3);
}
static inline int64_t attention_backward_workspace(const AttentionInput& in) {
  const int64_t chunk = in.queries < kAttentionQueryChunk ? in.queries : kAttentionQueryChunk;
  return attention_padded(in.head_dim) * (3 * kAttentionBlock + 2 * chunk) +
         attention_padded(in.value_dim) * (3 * kAttentionBlock + chunk) + 2 * kAttentionBlock * kAttentionBlock +
         3 * chunk;
}

// What the CPU's programs are made of.
struct AttentionTilesTable {
  static constexpr const char* name = "attention_tiles";
  PerDtype<Kernel<AttentionForward>> forward;
  PerDtype<Kernel<AttentionForward>> join;  // adds the partials. Work item: one of the B * H * Tq rows
  PerDtype<Kernel<AttentionBackward>> backward;
  PerDtype<Kernel<AttentionSum>> sum;
};

struct AttentionTable {
  static constexpr const char* name = "attention";
  PerDtype<Program<AttentionForward>> forward;
  PerDtype<Program<AttentionBackward>> backward;
};
// The programs are the same for every set, made of its tiles: attention_program.cpp.
template <Isa isa>
struct KernelsOf<AttentionTable, isa> {
  static const AttentionTable& table();
};

}  // namespace pyformer
