// How attention's kernels for bfloat16 lay out a thread's workspace. Panels are those of a set's products
// (bfloat16_product_kernels.h): "rows" and "columns" are vectors of the left and of the right operand.
#pragma once
#include "pyformer/ops/attention/attention_kernels.h"
#include "pyformer/ops/matmul/bfloat16_product_kernels.h"

namespace pyformer {

// A set's products, for bfloat16.
struct AttentionProducts {
  explicit AttentionProducts(const BFloat16ProductTable& t)
      : rows(t.tile_rows[DType::bfloat16]),
        cols(t.tile_cols[DType::bfloat16]),
        row_step(t.row_step_bytes[DType::bfloat16]),
        col_step(t.col_step_bytes[DType::bfloat16]) {}

  int64_t rows, cols, row_step, col_step;

  static int64_t steps(int64_t k) { return (k + kBFloat16Block - 1) / kBFloat16Block; }
  int64_t row_panels(int64_t n) const { return (n + rows - 1) / rows; }
  int64_t col_panels(int64_t n) const { return (n + cols - 1) / cols; }
  int64_t row_bytes(int64_t n, int64_t k) const { return row_panels(n) * steps(k) * row_step; }
  int64_t col_bytes(int64_t n, int64_t k) const { return col_panels(n) * steps(k) * col_step; }
  // Rows whose softmax is taken together: whole panels, about 32 and at most that.
  int64_t strip_rows() const { return (32 / rows < 1 ? 1 : 32 / rows) * rows; }
};

// Offsets in bytes, each a multiple of 64.
class AttentionLayout {
 public:
  int64_t take(int64_t bytes) {
    const int64_t at = bytes_;
    bytes_ += (bytes + 63) / 64 * 64;
    return at;
  }
  int64_t bytes() const { return bytes_; }

 private:
  int64_t bytes_ = 0;
};

struct AttentionBFloat16ForwardSpace {
  int64_t queries, q;                        // rows (head_rows, D) as they are, packed for each head
  int64_t k, v;                              // columns: keys along D, elements of v along keys
  int64_t scores, p, p_panels, sums;         // of a strip: (rows, 64) float, (rows, 64) bfloat16, packed, (rows, Dv)
  int64_t o, total, l, m, total_m, total_l;  // see RowsTask
  int64_t q_head_bytes, sums_stride, bytes;

  AttentionBFloat16ForwardSpace(const AttentionInput& in, int64_t task_heads, const AttentionProducts& u) {
    const int64_t all_rows = in.queries * (in.heads / in.key_heads);
    const int64_t head_rows = all_rows < kAttentionRowBlock ? all_rows : kAttentionRowBlock;
    const int64_t rows = head_rows * task_heads, strip = u.strip_rows(), Dv = attention_padded(in.value_dim);
    q_head_bytes = u.row_bytes(head_rows, in.head_dim);
    sums_stride = u.col_panels(in.value_dim) * u.cols;
    AttentionLayout layout;
    queries = layout.take(head_rows * in.head_dim * 2), q = layout.take(task_heads * q_head_bytes);
    k = layout.take(u.col_bytes(kAttentionBlock, in.head_dim)),
    v = layout.take(u.col_bytes(in.value_dim, kAttentionBlock));
    scores = layout.take(strip * kAttentionBlock * 4), p = layout.take(strip * kAttentionBlock * 2);
    p_panels = layout.take(u.row_bytes(strip, kAttentionBlock)), sums = layout.take(strip * sums_stride * 4);
    o = layout.take(rows * Dv * 4), total = layout.take(rows * Dv * 4), l = layout.take(rows * kLanes * 4);
    m = layout.take(rows * 4), total_m = layout.take(rows * 4), total_l = layout.take(rows * 4);
    bytes = layout.bytes();
  }
};

// Arrays over the queries are in blocks of 64, each packed by itself.
struct AttentionBFloat16BackwardSpace {
  int64_t q, dout;                // rows: queries along D, Dv
  int64_t q_across, dout_across;  // rows: elements of q, dout along queries
  int64_t dq, base, inverse, delta, q_bad, dout_bad;
  int64_t k, v, k_across;     // columns: keys along D, Dv; elements of k along keys
  int64_t dk, dv;             // (D, 64), (Dv, 64) float
  int64_t scores, dp, w, ds;  // (64, 64), float and bfloat16
  int64_t ds_rows, w_cols, ds_cols, sums, row;
  int64_t q_bytes, dout_bytes, q_across_bytes, dout_across_bytes, dq_stride, bytes;

  AttentionBFloat16BackwardSpace(const AttentionInput& in, const AttentionProducts& u) {
    constexpr int64_t block = kAttentionBlock;
    const int64_t D = in.head_dim, Dv = in.value_dim;
    const int64_t chunk = in.queries < kAttentionQueryChunk ? in.queries : kAttentionQueryChunk;
    const int64_t blocks = (chunk + block - 1) / block, rows = u.row_panels(block) * u.rows;
    const int64_t d_rows = u.row_panels(D) * u.rows, dv_rows = u.row_panels(Dv) * u.rows;
    q_bytes = u.row_bytes(block, D), dout_bytes = u.row_bytes(block, Dv);
    q_across_bytes = u.row_bytes(D, block), dout_across_bytes = u.row_bytes(Dv, block);
    dq_stride = u.col_panels(D) * u.cols;
    AttentionLayout layout;
    q = layout.take(blocks * q_bytes), dout = layout.take(blocks * dout_bytes);
    q_across = layout.take(blocks * q_across_bytes), dout_across = layout.take(blocks * dout_across_bytes);
    dq = layout.take(blocks * block * dq_stride * 4), base = layout.take(blocks * block * 4);
    inverse = layout.take(blocks * block * 4), delta = layout.take(blocks * block * 4);
    q_bad = layout.take(blocks * 8), dout_bad = layout.take(blocks * 8);
    k = layout.take(u.col_bytes(block, D)), v = layout.take(u.col_bytes(block, Dv));
    k_across = layout.take(u.col_bytes(D, block));
    dk = layout.take(d_rows * block * 4), dv = layout.take(dv_rows * block * 4);
    scores = layout.take(rows * block * 4), dp = layout.take(rows * block * 4);
    w = layout.take(block * block * 2), ds = layout.take(block * block * 2);
    ds_rows = layout.take(u.row_bytes(block, block));
    w_cols = layout.take(u.col_bytes(block, block)), ds_cols = layout.take(u.col_bytes(block, block));
    const int64_t for_dq = rows * dq_stride, for_keys = (d_rows > dv_rows ? d_rows : dv_rows) * block;
    sums = layout.take((for_dq > for_keys ? for_dq : for_keys) * 4);
    row = layout.take(2 * attention_padded(Dv) * 4 > block * block * 4 ? 2 * attention_padded(Dv) * 4
                                                                       : block * block * 4);
    bytes = layout.bytes();
  }
};

}  // namespace pyformer
