#include "pyformer/ops/matmul/bfloat16_product.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <vector>

#include "pyformer/base/thread_pool.h"
#include "pyformer/base/workspace.h"
#include "pyformer/ops/matmul/bfloat16_product_kernels.h"

namespace pyformer {

// The plain loops serve ref.
template <>
const BFloat16ProductTable& KernelsOf<BFloat16ProductTable, Isa::ref>::table() {
  static constexpr BFloat16ProductTable table = {};
  return table;
}

namespace {

constexpr DType kType = DType::bfloat16;
constexpr int64_t kDepth = 2048;                   // longest block of k, a multiple of kBFloat16Block
constexpr int64_t kPartialBytes = 512 << 10;       // sums of a task between blocks of k
constexpr int64_t kLongPartialBytes = 1536 << 10;  // and where sums are so long that neither side is read twice
constexpr int64_t kSharedBytes = 8 << 20;          // a side that passes by several times is packed once
constexpr int64_t kTaskElements = 1 << 17;         // read by a task at least, or multiplied as often as the table says
constexpr int64_t kThinElements = 1 << 14;         // the same for few rows: small matrices, too, are shared out evenly
constexpr int64_t kTasks = 4;                      // a thread

thread_local ThreadBlock resident_block, scratch_block, partial_block;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
const BFloat16ProductTable& table_of(Isa set) { return *host_tables<BFloat16ProductTable>()[size_t(set)]; }

BFloat16Vectors rows_of(const Operand& a, int64_t m) {
  return {a.data, m, a.transposed ? 1 : a.stride, a.transposed ? a.stride : 1, a.wide};
}
BFloat16Vectors cols_of(const Operand& b, int64_t n) {
  return {b.data, n, b.transposed ? b.stride : 1, b.transposed ? 1 : b.stride, b.wide};
}
BFloat16Vectors from_k(BFloat16Vectors v, int64_t start) {
  if (v.data) v.data = static_cast<const char*>(v.data) + start * v.k_stride * v.item_bytes();
  return v;
}

// One product. A task keeps a block of one side, the resident one, packed in its core's cache, and panels of the other,
// the streamed one, pass by: each is packed, multiplied with all of the block and forgotten; where there are several
// blocks they are packed for all beforehand, unless they are too many. So the side that is dear to pack is the resident
// one. Long k is cut into blocks between which sums wait in a buffer of the task's.
class BFloat16Product {
 public:
  BFloat16Product(const Gemm& g, const BFloat16ProductTable& kernels)
      : g_(g),
        kernels_(kernels),
        rows_{rows_of(g.a, g.m), kernels.tile_rows[kType], kernels.row_step_bytes[kType]},
        cols_{cols_of(g.b, g.n), kernels.tile_cols[kType], kernels.col_step_bytes[kType]},
        depth_(std::max<int64_t>(1, steps(ceil_div(g.k, std::max<int64_t>(1, ceil_div(g.k, kDepth))))) *
               kBFloat16Block),
        k_blocks_(std::max<int64_t>(1, ceil_div(g.k, depth_))),
        streams_rows_(!g.b_panels.data && packing_if_resident(cols_, rows_) < packing_if_resident(rows_, cols_)),
        resident_(streams_rows_ ? cols_ : rows_),
        streamed_(streams_rows_ ? rows_ : cols_) {
    cut();
  }

  void run() const {
    const uint64_t number = next_numbers();
    const bool shares = !g_.b_panels.data && blocks_ > 1 && is_shared(streamed_);
    const int64_t panel_bytes = streamed_.panel_bytes(g_.k);
    const Workspace shared(shares ? streamed_.panels() * panel_bytes : 0);
    if (shares) {
      const BFloat16Pack args = {streamed_.vectors, g_.k, streams_rows_, shared.data(), panel_bytes};
      parallel_for(streamed_.panels(), std::max<int64_t>(1, kTaskElements / (streamed_.tile * g_.k)),
                   [&](int64_t begin, int64_t end) { kernels_.pack[kType](args, begin, end); });
    }
    const void* const panels = shares ? shared.data() : g_.b_panels.data;
    parallel_for(blocks_ * pieces_, 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) run_task(task / pieces_, task % pieces_, panels, number);
    });
  }

 private:
  struct Side {
    BFloat16Vectors vectors;
    int64_t tile, step_bytes;
    int64_t panels() const { return ceil_div(vectors.count, tile); }
    int64_t panel_bytes(int64_t k) const { return steps(k) * step_bytes; }
  };
  static int64_t steps(int64_t k) { return ceil_div(k, kBFloat16Block); }

  int64_t panels_that_fit(const Side& side) const {
    return std::max<int64_t>(1, kernels_.block_bytes[kType] / side.panel_bytes(depth_));
  }
  bool is_shared(const Side& side) const { return side.panels() * side.panel_bytes(g_.k) <= kSharedBytes; }
  // Cycles that packing takes for a few elements of k, where `resident` is packed once and `streamed` for each block or
  // for all, and read for each.
  int64_t packing_if_resident(const Side& resident, const Side& streamed) const {
    const auto cycles = [&](const Side& s) {
      return s.vectors.count * (&s == &rows_ ? (s.vectors.k_stride == 1 ? 1 : 5) : s.vectors.k_stride == 1 ? 4 : 2);
    };
    constexpr int64_t kReads = 4;  // reading packed vectors costs a part of packing them
    const int64_t blocks = ceil_div(resident.panels(), panels_that_fit(resident));
    const int64_t once = cycles(resident) + cycles(streamed);
    return is_shared(streamed) ? kReads * once + streamed.vectors.count * blocks
                               : kReads * (cycles(resident) + cycles(streamed) * blocks);
  }

  // How many blocks the resident side is cut into, and how many pieces the streamed one for each.
  void cut() {
    const int64_t threads = num_threads(), panels = resident_.panels(), streamed = streamed_.panels();
    const int64_t depth = std::max<int64_t>(1, g_.k), elements = checked_multiply(g_.m + g_.n, depth);
    const int64_t products = checked_multiply(checked_multiply(g_.m, g_.n), depth);
    const int64_t tasks = std::clamp<int64_t>(
        std::max(products / kernels_.task_products[kType], elements / kTaskElements), 1, kTasks * threads);
    blocks_ = ceil_div(panels, panels_that_fit(resident_));
    const bool reads_once = cut_long_k();
    if (blocks_ > 1 && tasks > 1) blocks_ = std::min(panels, ceil_div(blocks_, threads) * threads);
    block_panels_ = ceil_div(panels, blocks_);
    blocks_ = ceil_div(panels, block_panels_);
    pieces_ = std::clamp<int64_t>(ceil_div(tasks, blocks_), 1, streamed);
    if (k_blocks_ > 1) {
      const int64_t panel_bytes = streamed_.tile * block_panels_ * resident_.tile * int64_t(sizeof(float));
      const int64_t bytes = reads_once ? kLongPartialBytes : kPartialBytes;
      if (reads_once) pieces_ = std::min(threads, streamed);
      pieces_ = std::max(pieces_, ceil_div(streamed, std::max<int64_t>(1, bytes / panel_bytes)));
    }
    piece_panels_ = ceil_div(streamed, pieces_);
    pieces_ = ceil_div(streamed, piece_panels_);
  }

  // Where k is so long that a side does not fit in what is shared, and the other is one block if k is cut shorter:
  // does so. Each piece then packs the resident side for itself.
  bool cut_long_k() {
    constexpr int64_t kLeastSteps = 8;
    const int64_t fit = kernels_.block_bytes[kType] / (resident_.panels() * resident_.step_bytes);
    if (g_.b_panels.data || k_blocks_ == 1 || blocks_ == 1 || is_shared(streamed_) || fit < kLeastSteps) return false;
    depth_ = fit * kBFloat16Block;
    k_blocks_ = ceil_div(g_.k, depth_);
    blocks_ = 1;
    return true;
  }

  // Names what threads keep packed, a number each block of each block of k.
  uint64_t next_numbers() const {
    static std::atomic<uint64_t> last{1};
    return last.fetch_add(uint64_t(blocks_ * k_blocks_), std::memory_order_relaxed);
  }

  void run_task(int64_t block, int64_t piece, const void* streamed_panels, uint64_t number) const {
    const int64_t begin = piece * piece_panels_, end = std::min(streamed_.panels(), begin + piece_panels_);
    const int64_t first = block * block_panels_, stop = std::min(resident_.panels(), first + block_panels_);
    const int64_t row_panels = streams_rows_ ? end - begin : stop - first;
    const int64_t col_panels = streams_rows_ ? stop - first : end - begin;
    const int64_t partial_stride = col_panels * cols_.tile;
    const Workspace scratch(streamed_panels ? 0 : streamed_.panel_bytes(depth_), &scratch_block);
    const Workspace partial(k_blocks_ > 1 ? row_panels * rows_.tile * partial_stride * int64_t(sizeof(float)) : 0,
                            &partial_block);
    const Workspace resident((stop - first) * resident_.panel_bytes(depth_), &resident_block);
    BFloat16Multiply args = {};
    args.m = g_.m;
    args.n = g_.n;
    args.streams_rows = streams_rows_;
    args.streamed_stride = streamed_.panel_bytes(g_.k);
    args.scratch = scratch.data();
    args.resident = resident.data();
    args.resident_first = first;
    args.resident_end = stop;
    args.continue_sum = g_.continue_sum;
    args.partial = static_cast<float*>(partial.data());
    args.partial_stride = partial_stride;
    args.partial_first = begin;
    args.c = g_.c;
    args.c_stride = g_.c_stride;
    args.wide_c = g_.wide_c;
    args.nontemporal = passes_caches();
    args.epilogue = g_.epilogue;
    for (int64_t i = 0; i < k_blocks_; ++i) {
      const int64_t start = i * depth_;
      args.k = std::clamp<int64_t>(g_.k - start, 0, depth_);
      args.first = i == 0;
      args.last = i + 1 == k_blocks_;
      args.streamed = from_k(streamed_.vectors, start);
      if (streamed_panels)
        args.streamed_panels = static_cast<const char*>(streamed_panels) + streamed_.panel_bytes(start);
      args.resident_stride = resident_.panel_bytes(args.k);
      pack_resident(resident, first, stop, start, args.k, number + uint64_t(block * k_blocks_ + i));
      kernels_.multiply[kType](args, begin, end);
    }
  }

  // Is C so large that it is written past the caches, whole registers at a time?
  bool passes_caches() const {
    constexpr int64_t kLineBytes = 64, item = int64_t(sizeof(float));
    const auto is_aligned = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % kLineBytes == 0; };
    return g_.wide_c && !g_.epilogue.residual && checked_multiply(g_.m, g_.n) * item >= kNontemporalToProducts &&
           is_aligned(g_.c) && is_aligned(g_.epilogue.preactivation) && g_.c_stride * item % kLineBytes == 0;
  }

  // Panels of the resident side, unless this thread has them from an earlier task.
  void pack_resident(const Workspace& to, int64_t first, int64_t stop, int64_t start, int64_t k,
                     uint64_t number) const {
    if (to.is_kept() && resident_block.contents == number) return;
    BFloat16Vectors v = from_k(resident_.vectors, start);
    v.data = static_cast<const char*>(v.data) + first * resident_.tile * v.stride * v.item_bytes();
    v.count -= first * resident_.tile;
    kernels_.pack[kType]({v, k, !streams_rows_, to.data(), resident_.panel_bytes(k)}, 0, stop - first);
    if (to.is_kept()) resident_block.contents = number;
  }

  const Gemm& g_;
  const BFloat16ProductTable& kernels_;
  const Side rows_, cols_;
  int64_t depth_, k_blocks_;
  const bool streams_rows_;
  const Side& resident_;
  const Side& streamed_;
  int64_t blocks_, block_panels_, pieces_, piece_panels_;
};

// ---- few rows ---------------------------------------------------------------------------------------------------

// The kernels of the set, or of the one it falls back to, for products with few rows, which read b where it lies.
const BFloat16ProductTable* thin_table(const Gemm& g, Isa set) {
  if (!g.b.transposed || g.b.wide || !g.b.data || g.b_panels.data || g.continue_sum) return nullptr;
  for (int i = int(set); i > int(Isa::portable); i = kIsas[i].falls_back_to)
    if (table_of(Isa(i)).thin[kType]) return g.m <= table_of(Isa(i)).thin_rows[kType] ? &table_of(Isa(i)) : nullptr;
  return nullptr;
}

void multiply_thin(const Gemm& g, const BFloat16ProductTable& kernels) {
  const int64_t padded = ceil_div(g.k, kBFloat16Block) * kBFloat16Block;
  const Workspace rows(g.m * padded * int64_t(sizeof(float)), &scratch_block);
  float* const a = static_cast<float*>(rows.data());
  const BFloat16Vectors v = rows_of(g.a, g.m);
  for (int64_t i = 0; i < g.m; ++i)
    for (int64_t k = 0; k < padded; ++k) {
      const int64_t at = i * v.stride + k * v.k_stride;
      const auto element = [&] {
        const BFloat16 x =
            v.wide ? to_bfloat16(static_cast<const float*>(v.data)[at]) : static_cast<const BFloat16*>(v.data)[at];
        return to_float(x);
      };
      a[i * padded + k] = k < g.k ? element() : 0.0f;
    }
  const BFloat16Thin args = {g.m, g.n, g.k, a, g.b.data, g.b.stride, g.c, g.c_stride, g.wide_c, g.epilogue};
  const int64_t width = kernels.tile_cols[kType] / 2, items = ceil_div(g.n, width);
  parallel_for(items, std::max<int64_t>(1, kThinElements / (width * std::max<int64_t>(1, g.k))),
               [&](int64_t begin, int64_t end) { kernels.thin[kType](args, begin, end); });
}

// ---- do a set's kernels give the sums of the plain loops? -------------------------------------------------------

// Vectors of k elements, in turn of all magnitudes, with products around the smallest normal number, about 1, and
// around the smallest number: orders of sums and the treatment of denormals show.
void fill(std::vector<BFloat16>& x, int64_t k, uint32_t seed) {
  constexpr uint32_t kLeast[] = {0, 60, 120, 0}, kRange[] = {128, 8, 8, 8};
  for (size_t i = 0; i < x.size(); ++i) {
    seed = seed * 1664525u + 1013904223u;
    const size_t kind = i / size_t(k) % 4;
    const uint32_t exponent = kLeast[kind] + (seed >> 8) % kRange[kind];
    x[i].bits = uint16_t((seed >> 16 & 0x807fu) | exponent << 7);
  }
}

bool gives_the_sums_of_plain_loops(Isa set) {
  constexpr int64_t m = 9, n = 17, k = 70;
  std::vector<BFloat16> a(m * k), b(n * k);
  fill(a, k, 1);
  fill(b, k, 2);
  float expected[m * n], got[m * n];
  Gemm g;
  g.dtype = kType;
  g.wide_c = true;
  g.m = m;
  g.n = n;
  g.k = k;
  g.a = {a.data(), k, false};
  g.b = {b.data(), k, true};
  g.c_stride = n;
  g.c = expected;
  gemm(Isa::ref, g);
  g.c = got;
  in_default_float_mode([&] { multiply_bfloat16(g, set); });
  if (std::memcmp(expected, got, sizeof got) != 0) return false;
  std::fill(got, got + n, 0.0f);
  g.m = 1;  // a kernel of its own
  in_default_float_mode([&] { multiply_bfloat16(g, set); });
  return std::memcmp(expected, got, sizeof got) == 0;
}

}  // namespace

Isa bfloat16_product_set(Isa isa) {
  static std::atomic<int8_t> checked[kIsaCount] = {};  // 0: not yet, 1: the same sums, -1: not
  while (isa != Isa::ref) {
    if (const auto* table = host_tables<BFloat16ProductTable>()[size_t(isa)]; table && table->multiply[kType]) {
      std::atomic<int8_t>& state = checked[int(isa)];
      if (state == 0 && state.exchange(gives_the_sums_of_plain_loops(isa) ? 1 : -1) == 0 && state < 0)
        std::fprintf(stderr, "pyformer: products of bfloat16 by %s are wrong on this machine and are not used\n",
                     name(isa));
      if (state > 0) return isa;
    }
    isa = Isa(kIsas[int(isa)].falls_back_to);
  }
  return isa;
}

void multiply_bfloat16(const Gemm& g, Isa set) {
  if (const BFloat16ProductTable* thin = thin_table(g, set)) return multiply_thin(g, *thin);
  BFloat16Product(g, table_of(set)).run();
}

int64_t bfloat16_panel_bytes(int64_t n, int64_t k, Isa set) {
  const BFloat16ProductTable& t = table_of(set);
  if (t.col_step_bytes[kType] > t.tile_cols[kType] * kBFloat16Block * item_bytes(kType)) return 0;  // widened
  const int64_t steps = ceil_div(n, t.tile_cols[kType]) * ceil_div(k, kBFloat16Block);
  return checked_multiply(steps, t.col_step_bytes[kType]);
}

void pack_bfloat16(const GemmPack& p, Isa set) {
  const BFloat16ProductTable& t = table_of(set);
  const int64_t tile = t.tile_cols[kType], panel_bytes = ceil_div(p.k, kBFloat16Block) * t.col_step_bytes[kType];
  const BFloat16Pack args = {cols_of(p.b, p.n), p.k, false, p.panels, panel_bytes};
  parallel_for(ceil_div(p.n, tile), std::max<int64_t>(1, kTaskElements / (tile * std::max<int64_t>(1, p.k))),
               [&](int64_t begin, int64_t end) { t.pack[kType](args, begin, end); });
}

}  // namespace pyformer
