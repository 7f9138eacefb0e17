#include "pyformer/ops/attention/attention.h"

#include <cmath>

#include "pyformer/base/dispatch.h"
#include "pyformer/base/thread_pool.h"
#include "pyformer/base/workspace.h"
#include "pyformer/core/ids.h"
#include "pyformer/core/partials.h"
#include "pyformer/ops/attention/attention_kernels.h"

namespace pyformer {

static const KernelSets<AttentionKernels>& sets() {
  static const auto sets = kernel_sets<AttentionKernels>([]<Isa isa>() { return &attention_kernels<isa>(); });
  return sets;
}

namespace {

// The data of one operand or gradient: an array of its own, or a third of a packed one.
struct Heads {
  void* data;
  AttentionStrides strides;
};

struct Operands {
  int64_t batch, heads, key_heads, queries, keys, head_dim;
  DType dtype;
  Heads q, k, v;
};

thread_local ThreadBlock thread_block;

}  // namespace

static Heads heads_of(const Array& x) {  // (B, T, H, D)
  if (!x.defined()) return {nullptr, {0, 0, 0}};
  const int64_t token = x.dim(2) * x.dim(3);
  return {x.raw(), {x.dim(1) * token, token, x.dim(3)}};
}

static Heads heads_of_packed(const Array& qkv, int64_t which) {  // (B, T, 3, H, D)
  const int64_t third = qkv.dim(3) * qkv.dim(4), token = 3 * third;
  return {static_cast<char*>(qkv.raw()) + which * third * item_bytes(qkv.dtype()),
          {qkv.dim(1) * token, token, qkv.dim(4)}};
}

// ---- checks ---------------------------------------------------------------------------------------------------

static Operands check_separate(const Array& q, const Array& k, const Array& v) {
  float_index("attention", q.dtype());
  const auto check = [&](const char* which, const Array& x) {
    if (x.dtype() != q.dtype())
      throw TypeError(cat("attention: ", which, " must be ", name(q.dtype()), " as q is, got ", name(x.dtype())));
    if (x.ndim() != 4) throw ValueError(cat("attention: ", which, " must be (B, T, H, D), got ", x.shape().str()));
  };
  check("q", q);
  check("k", k);
  check("v", v);
  const Operands o = {q.dim(0), q.dim(2),  k.dim(2),    q.dim(1),    k.dim(1),
                      q.dim(3), q.dtype(), heads_of(q), heads_of(k), heads_of(v)};
  if (o.heads == 0 || o.head_dim == 0)
    throw ValueError(cat("attention: q must be (B, Tq, H, D) with H and D at least 1, got ", q.shape().str()));
  if (o.key_heads == 0 || o.heads % o.key_heads)
    throw ValueError(cat("attention: the heads of k must divide those of q, ", o.heads, ", got ", o.key_heads));
  const Shape expected = {o.batch, o.keys, o.key_heads, o.head_dim};
  if (!(k.shape() == expected))
    throw ValueError(cat("attention: k must be (B, Tk, Hkv, D) = ", expected.str(), ", got ", k.shape().str()));
  if (!(v.shape() == expected))
    throw ValueError(cat("attention: v must be (B, Tk, Hkv, D) = ", expected.str(), " as k is, got ", v.shape().str()));
  return o;
}

static Operands check_packed(const Array& qkv) {
  float_index("attention_packed", qkv.dtype());
  if (qkv.ndim() != 5 || qkv.dim(2) != 3 || qkv.dim(3) == 0 || qkv.dim(4) == 0)
    throw ValueError(cat("attention_packed: qkv must be (B, T, 3, H, D), got ", qkv.shape().str()));
  return {qkv.dim(0),
          qkv.dim(3),
          qkv.dim(3),
          qkv.dim(1),
          qkv.dim(1),
          qkv.dim(4),
          qkv.dtype(),
          heads_of_packed(qkv, 0),
          heads_of_packed(qkv, 1),
          heads_of_packed(qkv, 2)};
}

// (B,) as int64, in memory of its own, so that a later write to the caller's array changes nothing.
static Array check_row_numbers(const char* which, const Array& numbers, int64_t batch) {
  if (numbers.ndim() != 1 || numbers.dim(0) != batch)
    throw ValueError(cat("attention: ", which, " must be (B,) = (", batch, ",), got ", numbers.shape().str()));
  return int64_copy("attention", which, numbers);
}

static void check_mask(const Operands& o, const Array& mask) {
  if (mask.dtype() != DType::boolean && mask.dtype() != o.dtype)
    throw TypeError(cat("attention: mask must be bool, or ", name(o.dtype), " as q is, got ", name(mask.dtype())));
  const Shape full = {o.batch, o.heads, o.queries, o.keys};
  bool fits = mask.ndim() <= 4;
  for (int axis = 0; fits && axis < mask.ndim(); ++axis) {
    const int64_t dim = mask.dim(axis);
    fits = dim == 1 || dim == full[4 - mask.ndim() + axis];
  }
  if (!fits)
    throw ValueError(
        cat("attention: mask must broadcast to (B, H, Tq, Tk) = ", full.str(), ", got ", mask.shape().str()));
}

// Checks the options, and copies what must outlive the call.
static AttentionOptions checked(const Operands& o, AttentionOptions options) {
  if (options.window && *options.window < 1)
    throw ValueError(cat("attention: window must be at least 1, got ", *options.window));
  if (options.scale && !std::isfinite(*options.scale))
    throw ValueError(cat("attention: scale must be finite, got ", *options.scale));
  if (options.mask.defined()) check_mask(o, options.mask);
  if (options.query_offset.defined())
    options.query_offset = check_row_numbers("query_offset", options.query_offset, o.batch);
  if (options.key_lengths.defined()) {
    options.key_lengths = check_row_numbers("key_lengths", options.key_lengths, o.batch);
    for (int64_t b = 0; b < o.batch; ++b) {
      const int64_t length = options.key_lengths.data<int64_t>()[b];
      if (length < 0 || length > o.keys)
        throw ValueError(
            cat("attention: key_lengths must be from 0 to Tk = ", o.keys, ", got ", length, " for row ", b));
    }
  }
  return options;
}

// ---- running --------------------------------------------------------------------------------------------------

static AttentionInput kernel_input(const Operands& o, const AttentionOptions& options) {
  AttentionInput in = {};
  in.batch = o.batch, in.heads = o.heads, in.key_heads = o.key_heads;
  in.queries = o.queries, in.keys = o.keys, in.head_dim = o.head_dim;
  in_default_float_mode([&] { in.scale = options.scale ? *options.scale : 1 / std::sqrt(double(o.head_dim)); });
  in.causal = options.causal;
  in.window = options.window ? *options.window : 0;
  if (options.key_lengths.defined()) in.key_lengths = options.key_lengths.data<int64_t>();
  if (options.query_offset.defined()) in.query_offset = options.query_offset.data<int64_t>();
  in.q = o.q.data, in.k = o.k.data, in.v = o.v.data;
  in.q_strides = o.q.strides, in.k_strides = o.k.strides, in.v_strides = o.v.strides;
  if (options.mask.defined()) {
    const Array& mask = options.mask;
    if (mask.dtype() == DType::boolean)
      in.mask_allowed = mask.data<bool>();
    else
      in.mask_added = mask.raw();
    int64_t* strides[4] = {&in.mask_batch, &in.mask_head, &in.mask_query, &in.mask_key};
    int64_t stride = 1;
    for (int axis = mask.ndim() - 1; axis >= 0; --axis) {
      *strides[4 - mask.ndim() + axis] = mask.dim(axis) == 1 ? 0 : stride;
      stride *= mask.dim(axis);
    }
  }
  return in;
}

// How many items make a piece worth handing to another thread.
static int64_t grain_of_items(int64_t rows, int64_t keys, int64_t head_dim) {
  const double work = double(keys + 1) * double(head_dim) * double(rows + 8);
  return work >= 65536 ? 1 : int64_t(65536 / work);
}

template <class Args>
static void run(Kernel<Args> kernel, const Args& args, int64_t items, int64_t grain, int64_t workspace_bytes) {
  parallel_for(items, grain, [&](int64_t begin, int64_t end) {
    const Workspace workspace(workspace_bytes, &thread_block);
    Args mine = args;
    mine.workspace = workspace.data();
    kernel(mine, begin, end);
  });
}

// Where a key head has few rows, as in decoding, tasks take a key range each, and as many key heads as leave two
// tasks a thread.
static bool split_by_keys(const AttentionInput& in, int64_t key_ranges) {
  return key_ranges > 1 && in.queries * (in.heads / in.key_heads) <= kAttentionFewRows;
}

static int64_t heads_per_task(const AttentionInput& in, int64_t key_ranges) {
  const int64_t rows = std::max<int64_t>(1, in.queries * (in.heads / in.key_heads));
  const int64_t pieces = in.batch * in.key_heads * (split_by_keys(in, key_ranges) ? key_ranges : 1);
  const int64_t most = std::min({in.key_heads, kAttentionRowBlock / rows, pieces / (2 * num_threads())});
  const int64_t tasks = (in.key_heads + std::max<int64_t>(1, most) - 1) / std::max<int64_t>(1, most);
  return (in.key_heads + tasks - 1) / tasks;
}

static int64_t key_ranges_in_use(const AttentionInput& in) {
  int64_t longest = in.key_lengths ? 0 : in.keys;
  for (int64_t b = 0; in.key_lengths && b < in.batch; ++b) longest = std::max(longest, in.key_lengths[b]);
  return (longest + kAttentionKeyRange - 1) / kAttentionKeyRange;
}

static AttentionResult run_forward(const Operands& o, const AttentionOptions& options) {
  const auto kernel = find_kernel("attention", sets(), &AttentionKernels::forward, o.dtype);
  const AttentionResult r = {Array::empty({o.batch, o.queries, o.heads, o.head_dim}, o.dtype),
                             Array::empty({o.batch, o.heads, o.queries}, o.dtype),
                             Array::empty({o.batch, o.heads, o.queries}, o.dtype)};
  const Heads out = heads_of(r.out);
  const AttentionInput in = kernel_input(o, options);
  const int64_t key_ranges = key_ranges_in_use(in), heads = heads_per_task(in, key_ranges);
  AttentionForward args = {in, heads, 0, out.data, out.strides, r.row_max.raw(), r.row_sum.raw(), nullptr, nullptr};
  Array partial;
  if (split_by_keys(in, key_ranges)) {
    args.task_ranges = key_ranges;
    partial = Array::empty({o.batch, o.heads, o.queries, key_ranges, o.head_dim + 2}, o.dtype);
    args.partial = partial.raw();
  }
  const int64_t rows = std::min(o.queries * (o.heads / o.key_heads), kAttentionRowBlock) * heads;
  const int64_t task_keys = args.task_ranges ? kAttentionKeyRange : o.keys;
  run(kernel, args, attention_forward_items(in, heads, args.task_ranges), grain_of_items(rows, task_keys, o.head_dim),
      checked_multiply(attention_forward_workspace(in, heads), item_bytes(o.dtype)));
  if (!args.task_ranges) return r;
  const auto join = find_kernel("attention", sets(), &AttentionKernels::join, o.dtype);
  parallel_for(o.batch * o.heads * o.queries, grain_of_rows(key_ranges * o.head_dim),
               [&](int64_t begin, int64_t end) { join(args, begin, end); });
  return r;
}

static void add_partials(const Operands& o, const Array& partials, const Heads& sum) {
  const auto kernel = find_kernel("attention", sets(), &AttentionKernels::sum, o.dtype);
  const int64_t count = partials.dim(2);
  const AttentionSum args = {o.key_heads, o.keys, o.head_dim, count, partials.raw(), sum.data, sum.strides};
  parallel_for(o.batch * o.key_heads * o.keys, grain_of_rows(count * o.head_dim),
               [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
}

// Writes the gradients that have data; dk and dv together or not at all.
static void run_backward(const Operands& o, const AttentionOptions& options, const Array& dout,
                         const AttentionResult& r, const Heads& dq, const Heads& dk, const Heads& dv) {
  const auto kernel = find_kernel("attention", sets(), &AttentionKernels::backward, o.dtype);
  const Heads dout_heads = heads_of(dout), out = heads_of(r.out);
  AttentionBackward args = {kernel_input(o, options),
                            dout_heads.data,
                            out.data,
                            r.row_max.raw(),
                            r.row_sum.raw(),
                            dq.data,
                            dk.data,
                            dv.data,
                            dout_heads.strides,
                            out.strides,
                            dq.strides,
                            dk.strides,
                            dv.strides,
                            nullptr};
  const int64_t partials = attention_partials(args.in);
  const bool several = dk.data && partials > 1;
  const Shape shape = {o.batch, o.key_heads, partials, o.keys, o.head_dim};
  const Array dk_partials = several ? Array::empty(shape, o.dtype) : Array();
  const Array dv_partials = several ? Array::empty(shape, o.dtype) : Array();
  if (several) args.dk = dk_partials.raw(), args.dv = dv_partials.raw();
  run(kernel, args, o.batch * o.heads * attention_query_chunks(args.in),
      grain_of_items(std::min(o.queries, kAttentionQueryChunk), o.keys, o.head_dim),
      checked_multiply(attention_backward_workspace(args.in), item_bytes(o.dtype)));
  if (!several) return;
  add_partials(o, dk_partials, dk);
  add_partials(o, dv_partials, dv);
}

// ---- Arrays ---------------------------------------------------------------------------------------------------

AttentionResult attention_forward(const Array& q, const Array& k, const Array& v, const AttentionOptions& options) {
  const Operands o = check_separate(q, k, v);
  return run_forward(o, checked(o, options));
}

AttentionResult attention_packed_forward(const Array& qkv, const AttentionOptions& options) {
  const Operands o = check_packed(qkv);
  return run_forward(o, checked(o, options));
}

AttentionGradient attention_backward(const Array& dout, const Array& q, const Array& k, const Array& v,
                                     const AttentionResult& result, const AttentionOptions& options, bool need_dq,
                                     bool need_dk_dv) {
  const Operands o = check_separate(q, k, v);
  const AttentionGradient g = {need_dq ? Array::empty(q.shape(), o.dtype) : Array(),
                               need_dk_dv ? Array::empty(k.shape(), o.dtype) : Array(),
                               need_dk_dv ? Array::empty(v.shape(), o.dtype) : Array()};
  run_backward(o, checked(o, options), dout, result, heads_of(g.dq), heads_of(g.dk), heads_of(g.dv));
  return g;
}

Array attention_packed_backward(const Array& dout, const Array& qkv, const AttentionResult& result,
                                const AttentionOptions& options) {
  const Operands o = check_packed(qkv);
  const Array dqkv = Array::empty(qkv.shape(), o.dtype);
  run_backward(o, checked(o, options), dout, result, heads_of_packed(dqkv, 0), heads_of_packed(dqkv, 1),
               heads_of_packed(dqkv, 2));
  return dqkv;
}

// ---- Tensors --------------------------------------------------------------------------------------------------

// What the gradient closures keep: the options with the mask under watch, and the statistics.
namespace {
struct Recorded {
  AttentionOptions options;
  Saved mask, out;
  Array row_max, row_sum;

  Recorded(AttentionOptions kept, const AttentionResult& r)
      : options(std::move(kept)), mask(save(options.mask)), out(save(r.out)), row_max(r.row_max), row_sum(r.row_sum) {}
  AttentionResult result() const {
    mask();  // raises if it was written to
    return {out(), row_max, row_sum};
  }
};
}  // namespace

static void take_mask(const char* op, const Tensor& mask, AttentionOptions& options) {
  if (!mask.defined()) return;
  if (mask.requires_grad()) throw ValueError(cat(op, ": mask has no gradient, got one that requires it"));
  options.mask = mask.array();
}

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask, AttentionOptions options) {
  take_mask("attention", mask, options);
  const Operands o = check_separate(q.array(), k.array(), v.array());
  options = checked(o, std::move(options));
  const AttentionResult r = run_forward(o, options);
  return record("attention", {q, k, v}, r.out,
                [q = save(q), k = save(k), v = save(v), kept = Recorded(options, r)](const Array& dout,
                                                                                     const Needs& need) -> Gradients {
                  AttentionGradient g =
                      attention_backward(dout, q(), k(), v(), kept.result(), kept.options, need[0], need[1] || need[2]);
                  return {g.dq, need[1] ? g.dk : Array(), need[2] ? g.dv : Array()};
                });
}

Tensor attention_packed(const Tensor& qkv, const Tensor& mask, AttentionOptions options) {
  take_mask("attention_packed", mask, options);
  const Operands o = check_packed(qkv.array());
  options = checked(o, std::move(options));
  const AttentionResult r = run_forward(o, options);
  return record("attention_packed", {qkv}, r.out,
                [qkv = save(qkv), kept = Recorded(options, r)](const Array& dout, const Needs&) -> Gradients {
                  return {attention_packed_backward(dout, qkv(), kept.result(), kept.options)};
                });
}

}  // namespace pyformer
