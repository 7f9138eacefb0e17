// gemm's programs for the CPU: how a product is cut into panels, blocks and tasks for the kernels of a set.
#include <algorithm>
#include <atomic>

#include "pyformer/base/allocator.h"
#include "pyformer/base/thread_pool.h"
#include "pyformer/base/workspace.h"
#include "pyformer/ops/matmul/bfloat16_product.h"
#include "pyformer/ops/matmul/gemm.h"
#include "pyformer/ops/matmul/matmul_kernels.h"

namespace pyformer {

namespace {

// What a task packs for itself should stay in a core's own cache, what all tasks read in the shared one.
constexpr int64_t kTaskBytes = 256 << 10;
constexpr int64_t kSharedBytes = 4 << 20;
constexpr int64_t kPassBytes = 32 << 10;    // of packed weights that pass by once: less is not worth a task
constexpr int64_t kDepth = 1024;            // longest block of k, a multiple of kChainLength
constexpr int64_t kTaskProducts = 1 << 19;  // multiply-adds below which handing out costs more than it gains
constexpr int64_t kTaskElements = 1 << 16;  // the same for elements moved
constexpr int64_t kPackElements = 1 << 13;  // elements packed for all, while all wait
// An operand of so many bytes is packed by each thread for itself, if it multiplies it with so many vectors.
constexpr int64_t kCopyBytes = 512 << 10, kCopyVectors = 256;
// One that lies in place and is larger is not read again and again for a few vectors of the other.
constexpr int64_t kRereadBytes = 1 << 20;
// Rows so far apart share a quarter of a cache's sets or less, of which each holds 8 to 16 lines: more rows than
// kAliasedRows drive each other out.
constexpr int64_t kAliasedBytes = 1024, kAliasedRows = 64;

thread_local ThreadBlock own_block, copy_block;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

const void* offset(const void* p, int64_t elements, int64_t bytes) {
  return p ? static_cast<const char*>(p) + elements * bytes : nullptr;
}
void* offset(void* p, int64_t elements, int64_t bytes) {
  return p ? static_cast<char*>(p) + elements * bytes : nullptr;
}

// An operand as vectors along k: the rows of op(A) or the columns of op(B).
struct Vectors {
  const void* data;
  int64_t stride, k_stride;
};
Vectors rows_of(const Operand& a) { return {a.data, a.transposed ? 1 : a.stride, a.transposed ? a.stride : 1}; }
Vectors cols_of(const Operand& b) { return {b.data, b.transposed ? b.stride : 1, b.transposed ? 1 : b.stride}; }

// One product on panels. All tasks share one operand, and each has its own part of the other, which it packs and
// multiplies with all of the shared one. What one thread packs is slow to reach another, so the shared operand is one
// that needs no packing, if there is one: up to 4 MiB, an operand whose vectors lie across it, as both do in x^T dout,
// is panels already, unless its rows meet in the same sets of a cache, and so is a single row. Else it is the smaller
// one, which each thread packs for itself or, if it is large, all for all. Sets whose tiles read rows along k never
// pack such rows, whichever side they are. Long k is cut into blocks between which sums wait in C.
class PackedProduct {
 public:
  PackedProduct(const Gemm& g, const MatmulTable& kernels)
      : g_(g),
        kernels_(kernels),
        item_bytes_(item_bytes(g.dtype)),
        panels_(g.b_panels.data),
        rows_{rows_of(g.a), g.m, kernels.tile_rows[g.dtype], ceil_div(g.m, kernels.tile_rows[g.dtype])},
        cols_{cols_of(g.b), g.n, kernels.tile_cols[g.dtype], ceil_div(g.n, kernels.tile_cols[g.dtype])},
        tasks_own_cols_(owns_cols()),
        own_(tasks_own_cols_ ? cols_ : rows_),
        shared_(tasks_own_cols_ ? rows_ : cols_) {
    const int64_t blocks = passes_b_once() ? 1 : std::max<int64_t>(1, ceil_div(g.k, kDepth));
    depth_ = std::max<int64_t>(1, ceil_div(ceil_div(g.k, blocks), kChainLength) * kChainLength);
    depth_ = std::min(depth_, std::max<int64_t>(1, g.k));
  }

  void run() {
    const bool keeps_c = g_.k > depth_ && g_.epilogue.residual == g_.c;
    Workspace partial(keeps_c ? checked_multiply(checked_multiply(g_.m, g_.c_stride), item_bytes_) : 0);
    partial_ = keeps_c ? partial.data() : g_.c;
    const int64_t most = kSharedBytes / (depth_ * shared_.tile * item_bytes_);
    const bool nearly_fits = is_rows(shared_) && reads_rows() && shared_.panels <= 2 * most;
    const int64_t step = nearly_fits ? shared_.panels : std::clamp<int64_t>(most, 1, shared_.panels);
    const bool each_packs = packs_for_itself(step);
    Workspace shared(is_ready(shared_) || each_packs ? 0 : packed_bytes(shared_, step, depth_));
    for (int64_t first = 0; first < shared_.panels; first += step)
      for (int64_t start = 0; start == 0 || start < g_.k; start += depth_)
        run_block({first, std::min(step, shared_.panels - first), start, std::min(depth_, g_.k - start),
                   each_packs ? next_number() : 0, shared.data()});
  }

 private:
  struct Side {
    Vectors vectors;
    int64_t count, tile, panels;
  };

  // Shared panels [first, first + panels), k from start on. Each thread packs them if the block has a number.
  struct Block {
    int64_t first, panels, start, k;
    uint64_t number;
    void* packed;
  };
  static uint64_t next_number() {
    static std::atomic<uint64_t> last{0};
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
  }
  bool packs_for_itself(int64_t shared_panels) const {
    return !is_ready(shared_) && packed_bytes(shared_, shared_panels, depth_) <= kCopyBytes &&
           own_.count >= kCopyVectors * num_threads();
  }

  bool owns_cols() const {
    if (panels_) return g_.m <= 8 * rows_.tile;
    const bool rows_ready = in_place(rows_), cols_ready = in_place(cols_);
    if (rows_ready != cols_ready && is_worth_sharing(rows_ready ? rows_ : cols_, rows_ready ? cols_ : rows_))
      return rows_ready;
    return g_.n >= g_.m;
  }
  // Whether to share `ready`, all of which each panel of `other` will read.
  bool is_worth_sharing(const Side& ready, const Side& other) const {
    const bool rereads_are_cheap = ready.count * g_.k * item_bytes_ <= kRereadBytes || 2 * other.count >= ready.count;
    return rereads_are_cheap && other.panels >= 4 * num_threads();
  }

  // Whether packed weights pass by once, for a few rows: memory is the limit then.
  bool passes_b_once() const { return panels_ && rows_.panels == 1; }
  bool is_rows(const Side& side) const { return &side == &rows_; }
  bool is_packed(const Side& side) const { return panels_ && !is_rows(side); }
  bool in_place(const Side& side) const {
    if (is_packed(side)) return false;
    const bool lies_across = side.vectors.stride == 1 && side.vectors.k_stride != 1;
    if (!lies_across && !(is_rows(side) && side.count == 1)) return false;
    if (!is_rows(side) && side.count % kernels_.vector_width[g_.dtype] != 0) return false;
    if (lies_across && side.vectors.k_stride * item_bytes_ % kAliasedBytes == 0 && g_.k > kAliasedRows) return false;
    return g_.k <= kSharedBytes / std::max(item_bytes_, side.vectors.k_stride * item_bytes_);
  }
  // Whether tiles read A's rows along k where they lie.
  bool reads_rows() const {
    return kernels_.reads_rows[g_.dtype] && rows_.vectors.k_stride == 1 && rows_.vectors.stride != 0 &&
           !in_place(rows_);
  }
  bool is_ready(const Side& side) const { return is_packed(side) || in_place(side) || (is_rows(side) && reads_rows()); }
  int64_t packed_bytes(const Side& side, int64_t panels, int64_t k) const {
    return checked_multiply(checked_multiply(panels * side.tile, k), item_bytes_);
  }

  // Packs panels [first, first + panels) of a side, k from start on.
  void pack(const Side& side, bool is_rows, int64_t first, int64_t begin, int64_t end, int64_t start, int64_t k,
            void* packed) const {
    const MatmulPack args = {offset(side.vectors.data, start * side.vectors.k_stride, item_bytes_),
                             side.vectors.stride,
                             side.vectors.k_stride,
                             side.count,
                             side.panels,
                             k,
                             packed,
                             first};
    (is_rows ? kernels_.pack_a : kernels_.pack_b)[g_.dtype](args, begin, end);
  }

  // Panels of the own side per task: enough work, small enough for the cache, about eight tasks a thread.
  int64_t panels_per_task(int64_t shared_panels, int64_t k) const {
    if (passes_b_once()) return std::max<int64_t>(1, kPassBytes / (std::max<int64_t>(1, k) * own_.tile * item_bytes_));
    const int64_t threads = num_threads(), depth = std::max<int64_t>(1, k);
    const int64_t products = shared_panels * shared_.tile * own_.tile * depth;
    const int64_t least = ceil_div(kTaskProducts, products);
    const int64_t most = std::max<int64_t>(1, kTaskBytes / (depth * own_.tile * item_bytes_));
    const int64_t wanted = std::clamp(own_.panels / (8 * threads), std::min(least, most), most);
    int64_t tasks = ceil_div(own_.panels, wanted);
    if (tasks > 1) tasks = ceil_div(tasks, threads) * threads;
    return ceil_div(own_.panels, std::min(tasks, own_.panels));
  }

  void run_block(const Block& block) {
    const int64_t pack_grain = std::max<int64_t>(1, kPackElements / (std::max<int64_t>(1, block.k) * shared_.tile));
    if (block.packed)
      parallel_for(block.panels, pack_grain, [&](int64_t begin, int64_t end) {
        pack(shared_, tasks_own_cols_, block.first, block.first + begin, block.first + end, block.start, block.k,
             block.packed);
      });
    const int64_t own_step = panels_per_task(block.panels, block.k), own_tasks = ceil_div(own_.panels, own_step);
    const int64_t splits = own_tasks < num_threads()
                               ? std::clamp<int64_t>(g_.m * g_.n / kTaskProducts * block.k / own_tasks, 1,
                                                     std::min<int64_t>(block.panels, 2 * num_threads()))
                               : 1;
    const int64_t shared_step = ceil_div(block.panels, splits);
    parallel_for(own_tasks * splits, 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t own_first = task / splits * own_step, own_end = std::min(own_.panels, own_first + own_step);
        const int64_t part = task % splits * shared_step, part_end = std::min(block.panels, part + shared_step);
        if (part < part_end) run_task(block, own_first, own_end, block.first + part, block.first + part_end);
      }
    });
  }

  void run_task(const Block& block, int64_t own_first, int64_t own_end, int64_t shared_begin,
                int64_t shared_end) const {
    const int64_t start = block.start, k = block.k;
    const Workspace own(is_ready(own_) ? 0 : packed_bytes(own_, own_end - own_first, k), &own_block);
    if (own.data()) pack(own_, !tasks_own_cols_, own_first, own_first, own_end, start, k, own.data());
    const Workspace copy(block.number ? packed_bytes(shared_, block.panels, k) : 0, &copy_block);
    if (block.number) pack_copy(block, copy);
    const void* const shared = block.number ? copy.data() : block.packed;
    MatmulMultiply args = {};
    args.m = g_.m;
    args.n = g_.n;
    args.k = k;
    args.row_panels = rows_.panels;
    set_a(args, start, tasks_own_cols_ ? shared : own.data(), tasks_own_cols_ ? block.first : own_first);
    set_b(args, start, tasks_own_cols_ ? own.data() : shared, tasks_own_cols_ ? own_first : block.first);
    args.col_begin = tasks_own_cols_ ? own_first : shared_begin;
    args.col_end = tasks_own_cols_ ? own_end : shared_end;
    args.rows_outer = tasks_own_cols_;
    args.first = start == 0 && !g_.continue_sum;
    args.last = start + k >= g_.k;
    args.partial = partial_;
    args.c = g_.c;
    args.c_stride = g_.c_stride;
    args.epilogue = g_.epilogue;
    kernels_.multiply[g_.dtype](args, tasks_own_cols_ ? shared_begin : own_first,
                                tasks_own_cols_ ? shared_end : own_end);
  }

  // The shared panels for this thread, unless it has them from an earlier task.
  void pack_copy(const Block& block, const Workspace& copy) const {
    if (copy.is_kept() && copy_block.contents == block.number) return;
    pack(shared_, tasks_own_cols_, block.first, block.first, block.first + block.panels, block.start, block.k,
         copy.data());
    if (copy.is_kept()) copy_block.contents = block.number;
  }

  // Where k from start on begins in an operand that lies in place.
  const void* place(const Side& side, int64_t start) const {
    return offset(side.vectors.data, start * side.vectors.k_stride, item_bytes_);
  }

  void set_a(MatmulMultiply& args, int64_t start, const void* packed, int64_t first) const {
    const bool across = in_place(rows_), along = reads_rows(), here = across || along;
    args.a = here ? place(rows_, start) : packed;
    args.a_first = here ? 0 : first;
    args.a_k_stride = across ? rows_.vectors.k_stride : 0;
    args.a_row_stride = along ? rows_.vectors.stride : 0;
  }

  void set_b(MatmulMultiply& args, int64_t start, const void* packed, int64_t first) const {
    const bool here = in_place(cols_), before = panels_ != nullptr;
    args.b = here ? place(cols_, start) : before ? offset(panels_, start * cols_.tile, item_bytes_) : packed;
    args.b_first = here || before ? 0 : first;
    args.b_stride = here ? cols_.tile : (before ? g_.k : args.k) * cols_.tile;
    args.b_k_stride = here ? cols_.vectors.k_stride : cols_.tile;
  }

  const Gemm& g_;
  const MatmulTable& kernels_;
  const int64_t item_bytes_;
  const void* const panels_;  // of b, packed before; null: none
  const Side rows_, cols_;
  const bool tasks_own_cols_;
  const Side& own_;
  const Side& shared_;
  int64_t depth_;
  void* partial_ = nullptr;
};

void multiply_thin(const Gemm& g, const MatmulTable& kernels) {
  const Vectors rows = rows_of(g.a);
  const bool is_panel = g.m == 1 && rows.k_stride == 1;
  const Workspace packed(is_panel ? 0 : checked_multiply(checked_multiply(g.m, g.k), item_bytes(g.dtype)));
  if (!is_panel)
    kernels.pack_a[g.dtype](MatmulPack{rows.data, rows.stride, rows.k_stride, g.m, 1, g.k, packed.data(), 0}, 0, 1);
  const void* const a = is_panel ? rows.data : packed.data();
  const MatmulThin args = {g.m, g.n, g.k, a, g.b.data, g.b.stride, g.c, g.c_stride, g.epilogue};
  const int64_t width = kernels.vector_width[g.dtype];
  parallel_for(ceil_div(g.n, width), std::max<int64_t>(1, kTaskElements / (width * std::max<int64_t>(1, g.k))),
               [&](int64_t begin, int64_t end) { kernels.thin[g.dtype](args, begin, end); });
}

void multiply_rows(const Gemm& g, const MatmulTable& kernels) {
  const Vectors rows = rows_of(g.a), cols = cols_of(g.b);
  const MatmulRows args = {g.n,           g.k,         rows.data,     cols.data,      rows.stride,
                           rows.k_stride, cols.stride, cols.k_stride, g.a.wide,       g.b.wide,
                           g.c,           g.c_stride,  g.wide_c,      g.continue_sum, g.epilogue};
  parallel_for(g.m, std::max<int64_t>(1, kTaskElements / std::max<int64_t>(1, g.n)),
               [&](int64_t begin, int64_t end) { kernels.rows[g.dtype](args, begin, end); });
}

// A column result of contiguous elements is a row result of the transposed product, whose vectors run along m.
Gemm swapped(Gemm g) {
  std::swap(g.m, g.n);
  std::swap(g.a, g.b);
  g.a.transposed = !g.a.transposed;
  g.b.transposed = !g.b.transposed;
  g.c_stride = g.n;
  return g;
}

bool is_better_swapped(const Gemm& g) {
  return g.n == 1 && g.m > 1 && g.c_stride == 1 && !g.epilogue.bias && !g.b_panels.data;
}

void multiply(const Gemm& g, const MatmulTable& kernels) {
  if (kernels.rows[g.dtype]) return multiply_rows(g, kernels);
  if (is_better_swapped(g)) return multiply(swapped(g), kernels);
  if (g.m <= kernels.thin_rows[g.dtype] && g.b.transposed && !g.b_panels.data && !g.continue_sum)
    return multiply_thin(g, kernels);
  PackedProduct(g, kernels).run();
}

Gemm batch_item(Gemm g, int64_t i) {
  const auto bytes = [&](bool wide) { return item_bytes(wide ? accumulator(g.dtype) : g.dtype); };
  const int64_t c_bytes = bytes(g.wide_c), at = i * g.c_batch_stride;
  g.a.data = offset(g.a.data, i * g.a.batch_stride, bytes(g.a.wide));
  g.b.data = offset(g.b.data, i * g.b.batch_stride, bytes(g.b.wide));
  g.c = offset(g.c, at, c_bytes);
  g.epilogue.preactivation = offset(g.epilogue.preactivation, at, c_bytes);
  g.epilogue.factor = offset(g.epilogue.factor, at, c_bytes);
  g.epilogue.residual = offset(g.epilogue.residual, at, c_bytes);
  return g;
}

// multiply(item) for each product of the batch.
template <class Multiply>
void run_batch(const Gemm& g, const Multiply& multiply) {
  if (g.m == 0 || g.n == 0 || g.batch == 0) return;
  if (g.batch == 1) return multiply(g);
  const int64_t products = checked_multiply(checked_multiply(g.m, g.n), std::max<int64_t>(1, g.k));
  if (products < 4 * kTaskProducts || g.batch >= 4 * num_threads()) {
    parallel_for(g.batch, std::max<int64_t>(1, kTaskProducts / products), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) multiply(batch_item(g, i));
    });
  } else {
    for (int64_t i = 0; i < g.batch; ++i) multiply(batch_item(g, i));
  }
}

// ---- the programs of a set --------------------------------------------------------------------------------------

// Panels are read by the programs that packed them; others read b itself.
Gemm without_foreign_panels(Gemm g, Isa isa) {
  const auto packed_by = [&](Isa set) { return host_entry(&GemmTable::pack, set, g.dtype); };
  if (g.b_panels.data && packed_by(g.b_panels.isa) != packed_by(isa)) {
    if (!g.b.data) throw std::logic_error(cat("gemm: panels of ", name(g.b_panels.isa), " for ", name(isa)));
    g.b_panels = {};
  }
  return g;
}

template <Isa isa>
void gemm_program(const Gemm& given) {
  const MatmulTable& kernels = KernelsOf<MatmulTable, isa>::table();
  run_batch(without_foreign_panels(given, isa), [&](const Gemm& g) { multiply(g, kernels); });
}

template <Isa isa>
void bfloat16_program(const Gemm& given) {
  const Isa set = bfloat16_product_set(isa);
  if (set == Isa::ref) return gemm_program<Isa::ref>(given);
  run_batch(without_foreign_panels(given, isa),
            [&](const Gemm& g) { multiply_bfloat16(is_better_swapped(g) ? swapped(g) : g, set); });
}

template <Isa isa, DType dtype>
int64_t panel_bytes(int64_t n, int64_t k) {
  const MatmulTable& kernels = KernelsOf<MatmulTable, isa>::table();
  if (!kernels.pack_b[dtype]) return 0;
  const int64_t tile = kernels.tile_cols[dtype];
  return checked_multiply(checked_multiply(ceil_div(n, tile) * tile, k), item_bytes(dtype));
}

template <Isa isa, DType dtype>
void pack_program(const GemmPack& p) {
  const MatmulTable& kernels = KernelsOf<MatmulTable, isa>::table();
  if (!kernels.pack_b[dtype]) return;
  const int64_t tile = kernels.tile_cols[dtype], panels = ceil_div(p.n, tile);
  const Vectors cols = cols_of(p.b);
  const MatmulPack args = {cols.data, cols.stride, cols.k_stride, p.n, panels, p.k, p.panels, 0};
  parallel_for(panels, std::max<int64_t>(1, kTaskElements / (tile * std::max<int64_t>(1, p.k))),
               [&](int64_t begin, int64_t end) { kernels.pack_b[dtype](args, begin, end); });
}

template <Isa isa>
int64_t bfloat16_panel_bytes(int64_t n, int64_t k) {
  const Isa set = bfloat16_product_set(isa);
  return set == Isa::ref ? 0 : bfloat16_panel_bytes(n, k, set);
}
template <Isa isa>
void bfloat16_pack_program(const GemmPack& p) {
  pack_bfloat16(p, bfloat16_product_set(isa));
}

// What a set has: ref all types, the vector sets float32 and float64, those that multiply bfloat16 that.
constexpr bool has_vector_kernels(Isa isa) { return isa != Isa::ref && !is_product_set(isa); }
constexpr bool multiplies_bfloat16(Isa isa) { return isa >= Isa::avx2; }

template <Isa isa>
constexpr GemmTable gemm_table() {
  constexpr int kBFloat16 = int(DType::bfloat16);
  GemmTable t = {};
  for_each_float<int>([&]<class T>() {
    constexpr DType dtype = DTypeOf<T>::value;
    if constexpr (isa == Isa::ref || (has_vector_kernels(isa) && sizeof(T) > 2)) {
      t.multiply.entries[int(dtype)] = gemm_program<isa>;
      t.panel_bytes.entries[int(dtype)] = panel_bytes<isa, dtype>;
      t.pack.entries[int(dtype)] = pack_program<isa, dtype>;
    }
    return 0;
  });
  if constexpr (multiplies_bfloat16(isa)) {
    t.multiply.entries[kBFloat16] = bfloat16_program<isa>;
    t.panel_bytes.entries[kBFloat16] = bfloat16_panel_bytes<isa>;
    t.pack.entries[kBFloat16] = bfloat16_pack_program<isa>;
  }
  return t;
}

}  // namespace

template <Isa isa>
const GemmTable& KernelsOf<GemmTable, isa>::table() {
  static constexpr GemmTable table = gemm_table<isa>();
  return table;
}
template struct KernelsOf<GemmTable, Isa::ref>;
#if defined(PF_BUILT_PORTABLE)
template struct KernelsOf<GemmTable, Isa::portable>;
#endif
#if defined(PF_BUILT_X86)
template struct KernelsOf<GemmTable, Isa::avx2>;
template struct KernelsOf<GemmTable, Isa::avx512>;
template struct KernelsOf<GemmTable, Isa::avx512_bf16>;
template struct KernelsOf<GemmTable, Isa::amx>;
#endif

PackedMatrix::PackedMatrix(const Operand& b, int64_t k, int64_t n, DType dtype, Isa isa) {
  isa = product_isa(isa);
  panels.isa = isa;
  const int64_t bytes = host_entry(&GemmTable::panel_bytes, isa, dtype)(n, k);
  if (bytes == 0) return;
  data_.reset(allocate(bytes), [bytes](void* block) { deallocate(block, bytes); });
  panels.data = data_.get();
  host_entry(&GemmTable::pack, isa, dtype)(GemmPack{n, k, b, data_.get()});
}

}  // namespace pyformer
