// How the CPU shares attention out to threads, and in which order partial results meet.
#include <algorithm>

#include "pyformer/base/run.h"
#include "pyformer/core/shape.h"
#include "pyformer/ops/attention/attention_bfloat16_space.h"
#include "pyformer/ops/attention/attention_kernels.h"
#include "pyformer/ops/matmul/bfloat16_product.h"

namespace pyformer {

namespace {
thread_local ThreadBlock thread_block;

int64_t bytes_of(int64_t elements, DType dtype) { return checked_multiply(elements, item_bytes(accumulator(dtype))); }

// How many items make a piece worth handing to another thread.
int64_t grain_of_items(int64_t rows, int64_t keys, const AttentionInput& in) {
  const double work = double(keys + 1) * (0.5 * double(in.head_dim + in.value_dim)) * double(rows + 8);
  return work >= 65536 ? 1 : int64_t(65536 / work);
}

template <class Args>
void share_out(Kernel<Args> kernel, const Args& args, int64_t items, int64_t grain, int64_t workspace_bytes) {
  parallel_for(items, grain, [&](int64_t begin, int64_t end) {
    const Workspace workspace(workspace_bytes, &thread_block);
    Args mine = args;
    mine.workspace = workspace.data();
    kernel(mine, begin, end);
  });
}

// Where a key head has few rows, as in decoding, tasks take a key range each, and as many key heads as leave two
// tasks a thread.
bool split_by_keys(const AttentionInput& in, int64_t key_ranges) {
  return key_ranges > 1 && in.queries * (in.heads / in.key_heads) <= kAttentionFewRows;
}

int64_t heads_per_task(const AttentionInput& in, int64_t key_ranges) {
  const int64_t rows = std::max<int64_t>(1, in.queries * (in.heads / in.key_heads));
  const int64_t pieces = in.batch * in.key_heads * (split_by_keys(in, key_ranges) ? key_ranges : 1);
  const int64_t most = std::min({in.key_heads, kAttentionRowBlock / rows, pieces / (2 * num_threads())});
  const int64_t tasks = (in.key_heads + std::max<int64_t>(1, most) - 1) / std::max<int64_t>(1, most);
  return (in.key_heads + tasks - 1) / tasks;
}

int64_t key_ranges_in_use(const AttentionInput& in) {
  int64_t longest = in.key_lengths ? 0 : in.keys;
  for (int64_t b = 0; in.key_lengths && b < in.batch; ++b) longest = std::max(longest, in.key_lengths[b]);
  return (longest + kAttentionKeyRange - 1) / kAttentionKeyRange;
}

// What kernels for bfloat16 multiply with; null for other dtypes, and where there are plain loops only.
template <Isa isa, DType dtype>
const BFloat16ProductTable* products() {
  if constexpr (dtype != DType::bfloat16) return nullptr;
  const Isa set = bfloat16_product_set(product_isa(isa));
  return set == Isa::ref ? nullptr : host_tables<BFloat16ProductTable>()[size_t(set)];
}

bool rounds_by_instruction() {
  static const bool does = is_supported(Isa::avx512_bf16);
  return does;
}

// The kernel of this set, or the plain loops where a kernel for bfloat16 has no products to be made of.
template <Isa isa, DType dtype, class Entry>
Entry kernel_of(PerDtype<Entry> AttentionTilesTable::* row, const BFloat16ProductTable* products) {
  return host_entry(row, dtype == DType::bfloat16 && !products ? Isa::ref : isa, dtype);
}

int64_t forward_bytes(const AttentionForward& args, DType dtype) {
  if (!args.products) return bytes_of(attention_forward_workspace(args.in, args.task_heads), dtype);
  return AttentionBFloat16ForwardSpace(args.in, args.task_heads, AttentionProducts(*args.products)).bytes;
}
int64_t backward_bytes(const AttentionBackward& args, DType dtype) {
  if (!args.products) return bytes_of(attention_backward_workspace(args.in), dtype);
  return AttentionBFloat16BackwardSpace(args.in, AttentionProducts(*args.products)).bytes;
}

template <Isa isa, DType dtype>
void forward(const AttentionForward& given) {
  AttentionForward args = given;
  const AttentionInput& in = args.in;
  const int64_t key_ranges = key_ranges_in_use(in), heads = heads_per_task(in, key_ranges);
  args.task_heads = heads;
  args.task_ranges = split_by_keys(in, key_ranges) ? key_ranges : 0;
  const int64_t all_rows = checked_multiply(in.batch, checked_multiply(in.heads, in.queries));
  const Workspace partial(bytes_of(checked_multiply(all_rows, args.task_ranges * (in.value_dim + 2)), dtype));
  args.partial = partial.data();
  args.products = products<isa, dtype>();
  args.rounds_by_instruction = rounds_by_instruction();
  const int64_t rows = std::min(in.queries * (in.heads / in.key_heads), kAttentionRowBlock) * heads;
  const int64_t task_keys = args.task_ranges ? kAttentionKeyRange : in.keys;
  share_out(kernel_of<isa, dtype>(&AttentionTilesTable::forward, args.products), args,
            attention_forward_items(in, heads, args.task_ranges), grain_of_items(rows, task_keys, in),
            forward_bytes(args, dtype));
  if (!args.task_ranges) return;
  share_out(kernel_of<isa, dtype>(&AttentionTilesTable::join, args.products), args, all_rows,
            grain_of_rows(key_ranges * in.value_dim), bytes_of(in.value_dim, dtype));
}

template <Isa isa, DType dtype>
void add_partials(const AttentionBackward& a, int64_t width, const void* partials, void* sum,
                  AttentionStrides strides) {
  const AttentionInput& in = a.in;
  const auto kernel = kernel_of<isa, dtype>(&AttentionTilesTable::sum, a.products);
  const AttentionSum args = {in.key_heads, in.keys, width, attention_partials(in), partials, sum, strides, a.wide};
  parallel_for(in.batch * in.key_heads * in.keys, grain_of_rows(args.partials * width),
               [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
}

template <Isa isa, DType dtype>
void backward(const AttentionBackward& given) {
  AttentionBackward args = given;
  const AttentionInput& in = args.in;
  const int64_t partials = attention_partials(in);
  const bool several = args.dk && partials > 1;
  const auto bytes = [&](int64_t width) {
    const int64_t each = checked_multiply(checked_multiply(in.batch * in.key_heads, partials), in.keys * width);
    return several ? bytes_of(each, dtype) : 0;
  };
  const Workspace dk(bytes(in.head_dim)), dv(bytes(in.value_dim));
  if (several) args.dk = dk.data(), args.dv = dv.data();
  args.products = products<isa, dtype>();
  args.rounds_by_instruction = rounds_by_instruction();
  share_out(kernel_of<isa, dtype>(&AttentionTilesTable::backward, args.products), args,
            in.batch * in.heads * attention_query_chunks(in),
            grain_of_items(std::min(in.queries, kAttentionQueryChunk), in.keys, in), backward_bytes(args, dtype));
  if (!several) return;
  add_partials<isa, dtype>(args, in.head_dim, dk.data(), given.dk, given.dk_strides);
  add_partials<isa, dtype>(args, in.value_dim, dv.data(), given.dv, given.dv_strides);
}
}  // namespace

template <Isa isa>
const AttentionTable& KernelsOf<AttentionTable, isa>::table() {
  static constexpr AttentionTable table = {
      for_each_float<Program<AttentionForward>>(
          []<class T>() -> Program<AttentionForward> { return forward<isa, DTypeOf<T>::value>; }),
      for_each_float<Program<AttentionBackward>>(
          []<class T>() -> Program<AttentionBackward> { return backward<isa, DTypeOf<T>::value>; })};
  return table;
}
template struct KernelsOf<AttentionTable, Isa::ref>;
#if defined(PF_BUILT_PORTABLE)
template struct KernelsOf<AttentionTable, Isa::portable>;
#endif
#if defined(PF_BUILT_X86)
template struct KernelsOf<AttentionTable, Isa::avx2>;
template struct KernelsOf<AttentionTable, Isa::avx512>;
#endif

}  // namespace pyformer
