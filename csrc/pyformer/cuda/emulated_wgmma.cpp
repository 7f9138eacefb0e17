#include "pyformer/cuda/emulated_wgmma.h"

#include <cstring>

#include "pyformer/cuda/emulated_bulk.h"
#include "pyformer/cuda/emulated_memory.h"
#include "pyformer/cuda/emulated_races.h"
#include "pyformer/cuda/tensor_core.h"

namespace pyformer::emulated {

namespace {

// A matrix descriptor's fields, in bytes.
struct Matrix {
  uint32_t start, leading, stride;
  cuda::Swizzle swizzle;

  explicit Matrix(uint64_t d)
      : start(uint32_t(d & 0x3fff) << 4),
        leading(uint32_t(d >> 16 & 0x3fff) << 4),
        stride(uint32_t(d >> 32 & 0x3fff) << 4),
        swizzle(cuda::Swizzle(d >> 62)) {
    require((d >> 49 & 7) == 0, "wgmma: a descriptor's base offset must be 0");
  }

  uint32_t line() const {
    constexpr uint32_t kBytes[] = {16, 128, 64, 32};
    return kBytes[int(swizzle)];
  }
  // Of element (row, k); row is along m or n.
  uint32_t k_major(uint32_t row, uint32_t k) const {
    const uint32_t in_line = swizzle == cuda::Swizzle::none ? k / 8 * leading + k % 8 * 2 : k * 2;
    return start + row % 8 * line() + row / 8 * stride + in_line;
  }
  uint32_t mn_major(uint32_t row, uint32_t k) const {
    const uint32_t rows = line() / 2;  // in a line
    const bool plain = swizzle == cuda::Swizzle::none;
    return start + row % rows * 2 + row / rows * (plain ? stride : leading) + k % 8 * line() +
           k / 8 * (plain ? leading : stride);
  }
  uint16_t element(uint32_t row, uint32_t k, bool is_mn_major) const {
    const uint32_t at = swizzled(is_mn_major ? mn_major(row, k) : k_major(row, k), swizzle);
    require(at + 2 <= block->shared_bytes, "wgmma: a descriptor reaches beyond shared memory");
    uint16_t bits;
    std::memcpy(&bits, async_view() + at, sizeof bits);
    return bits;
  }
};

void set(Factors& f, int k, uint16_t bits, bool is_float16) {
  if (is_float16)
    f.set(k, Float16{bits});
  else
    f.set(k, BFloat16{bits});
}

// The product of a whole warpgroup: what all threads agree on, and each one's registers.
struct Product {
  Wgmma all;
  float* d[kWarpgroup];
  const uint32_t* a[kWarpgroup];

  explicit Product(const Wgmma* const* threads) : all(*threads[0]) {
    for (unsigned i = 0; i < kWarpgroup; ++i) {
      const Wgmma& one = *threads[i];
      require(one.n == all.n && one.a == all.a && one.b == all.b && one.adds == all.adds,
              "wgmma: descriptors or scale-d differ within the warpgroup");
      d[i] = one.d, a[i] = one.a_registers;
    }
  }

  void read_a(Factors (&rows)[64]) const {
    const Matrix matrix(all.a);
    for (uint32_t row = 0; row < 64; ++row)
      for (uint32_t k = 0; k < 16; ++k) {
        // In registers, as mma.m16n8k16's: a[i] of lane 4g + t has rows g and g + 8, k 2t.. and 2t + 8...
        const uint32_t thread = row / 16 * 32 + row % 8 * 4 + k % 8 / 2, i = row % 16 / 8 + k / 8 * 2;
        const uint16_t bits =
            all.a_registers ? uint16_t(a[thread][i] >> 16 * (k % 2)) : matrix.element(row, k, all.a_mn_major);
        set(rows[row], int(k), bits, all.is_float16);
      }
  }
  Factors read_b(uint32_t column) const {
    const Matrix matrix(all.b);
    Factors f;
    for (uint32_t k = 0; k < 16; ++k) set(f, int(k), matrix.element(column, k, all.b_mn_major), all.is_float16);
    return f;
  }
  void run() const {
    Factors rows[64];
    read_a(rows);
    for (int n = 0; n < all.n; ++n) {
      const Factors column = read_b(uint32_t(n));
      for (int row = 0; row < 64; ++row) {
        float& to = d[row / 16 * 32 + row % 8 * 4 + n % 8 / 2][n / 8 * 4 + row % 16 / 8 * 2 + n % 2];
        to = tensor_core_dot(rows[row], column, 16, all.adds ? to : 0.0f);
      }
    }
  }
};

unsigned group() { return self->id / kWarpgroup; }

// ---- for the race detector -----------------------------------------------------------------------------------------

// A product reads this much of a matrix for each thread of the warpgroup. Eight elements that are adjacent in memory
// are one access.
void reads_matrix(uint64_t descriptor, uint32_t rows, bool is_mn_major) {
  const Matrix matrix(descriptor);
  for (uint32_t row = 0; row < rows; row += is_mn_major ? 8 : 1)
    for (uint32_t k = 0; k < 16; k += is_mn_major ? 1 : 8)
      reads(block->shared + swizzled(is_mn_major ? matrix.mn_major(row, k) : matrix.k_major(row, k), matrix.swizzle),
            16);
}
void accesses(const Wgmma& w) {
  if (w.a_registers)
    reads(w.a_registers, 4 * sizeof *w.a_registers);
  else
    reads_matrix(w.a, 64, w.a_mn_major);
  reads_matrix(w.b, uint32_t(w.n), w.b_mn_major);
  writes(w.d, unsigned(w.n) / 2 * sizeof *w.d);
}

// A thread's products are done by a thread of their own: after what the thread did before it began them, and before
// what it does after it waited for their group.
struct Background {
  static constexpr unsigned kGroups = 8;  // so many are told apart
  void* fiber = nullptr;
  char begun = 0, ended[kGroups] = {};
  unsigned closed = 0;

  void run(const Wgmma& product, void* caller) {
    if (!fiber) fiber = new_fiber();
    void* const thread = current_fiber();
    releases(&begun);
    enter_fiber(fiber);
    acquires(&begun);
    begin_function(caller);
    accesses(product);
    end_function();
    releases(&ended[closed % kGroups]);
    enter_fiber(thread);
  }
  void wait(unsigned pending) const {
    if (closed > pending) acquires(&ended[(closed - pending - 1) % kGroups]);
  }
};
Background& background() {
  static thread_local Background threads[kMaxThreads];
  return threads[self->id];
}

}  // namespace

void wgmma(const Wgmma& mine) {
  Wgmma frame = mine;
  if (kRacesAreWatched) background().run(mine, __builtin_return_address(0));
  warpgroup_collective("wgmma.mma_async", frame, [](Wgmma* const* f) {
    require(block->fenced[group()], "wgmma.mma_async without wgmma.fence since its registers could be touched");
    ++counters.wgmma;
    counters.operations += uint64_t(2 * 64 * 16) * uint64_t(f[0]->n);
    block->products[group()].add([product = Product(f)] { product.run(); });
  });
}

void wgmma_fence() {
  char frame = 0;
  warpgroup_collective("wgmma.fence", frame, [](char* const*) { block->fenced[group()] = true; });
}

void wgmma_commit() {
  char frame = 0;
  if (kRacesAreWatched) ++background().closed;
  warpgroup_collective("wgmma.commit_group", frame, [](char* const*) { block->products[group()].commit(); });
}

void wgmma_wait(unsigned pending) {
  unsigned frame = pending;
  warpgroup_collective("wgmma.wait_group", frame, [](unsigned* const* f) {
    block->products[group()].wait(*f[0]);
    block->fenced[group()] = false;
  });
  if (kRacesAreWatched) background().wait(pending);
}

}  // namespace pyformer::emulated
