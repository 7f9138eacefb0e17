// The CUDA execution model on a CPU: one block after another, a block's threads as fibers on one OS thread. Kernels do
// not include this; language.h does, where the compiler is not nvcc.
//
// A fiber runs until it waits (barrier, warp or warpgroup collective, mbarrier), then the next ready one runs. What a
// collective exchanges lies in frames on the waiting fibers' own stacks; the last to arrive computes for all.
//
// Hardware makes some choices as it likes. Here each is a setting, and a right kernel gives the same bits for all:
//   order   which ready thread, and which block, runs next: the lowest, the highest, or one drawn by seed
//   async   when cp.async, bulk copies and wgmma take effect: at issue, or at the last moment that the program allows
//   memory  shared memory starts as NaN, as does cp.async's target until the copy is done; the async proxy (wgmma, bulk
//           stores) sees ordinary writes only after fence.proxy.async
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace pyformer::emulated {

enum class Order { lowest, highest, drawn };
enum class Async { early, late };
// How a tensor core adds: in double precision and rounded once, or as those generations do (tensor_core.h).
enum class TensorCore { plain, ampere, hopper };

constexpr unsigned kMaxSharedBytes = 227 << 10;

struct Settings {
  Order order = Order::lowest;
  Async async = Async::early;
  TensorCore tensor_core = TensorCore::hopper;
  bool has_wgmma = true;                    // as a device of sm_90a; else of sm_80
  unsigned shared_bytes = kMaxSharedBytes;  // that a block may have
  bool proxy = true;                        // the async proxy has a view of its own
  bool count = false;                       // bank conflicts, sectors and bytes, at the price of time
  uint64_t seed = 1;
};
// Of the process. PYFORMER_CUDA_EMULATED sets them before the first launch: "highest,late,plain,count,seed=3".
extern Settings settings;
extern std::string settings_fault;  // what is wrong with that list; else empty
// What such a list of words says. Throws std::invalid_argument for an unknown word.
Settings settings_of(const std::string& words);

// What this OS thread's kernels did.
struct Counters {
  uint64_t switches, barriers, shuffles, cp_async, ldmatrix, stmatrix, mma, wgmma, bulk_loads, bulk_stores;
  uint64_t wavefronts, ideal_wavefronts;  // of shared memory: accesses, and what they were without bank conflicts
  uint64_t sectors, global_bytes;         // of global memory: 32-byte sectors that are touched, bytes that are wanted
  uint64_t different_sectors;             // of global memory, each once a launch
  uint64_t accesses;                      // of memory, by warps
  uint64_t operations, fmas;              // products and sums of tensor cores; FMAs of threads
};
extern thread_local Counters counters __attribute__((tls_model("initial-exec")));

// What went wrong in a kernel: launch() throws it, with block and thread.
struct Fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

constexpr unsigned kWarp = 32, kWarpgroup = 128, kMaxThreads = 1024;
constexpr int kMultiprocessors = 2;

// Asynchronous work in groups. Early work is done when it is added.
class Groups {
 public:
  void add(std::function<void()> work);
  void commit();                // closes the open group
  void wait(unsigned pending);  // does all but the `pending` newest closed groups
  bool idle() const;
  void clear();

 private:
  std::deque<std::vector<std::function<void()>>> closed_;
  std::vector<std::function<void()>> open_;
};

struct Thread {
  dim3 index;
  unsigned id = 0, warp = 0, lane = 0;
  Groups copies;  // cp.async
  Groups stores;  // bulk stores
};

struct Unfenced {  // an mbarrier that no fence made known to the async proxy
  const void* bar;
  unsigned thread;
};

struct Block {
  dim3 index, dim, grid;
  unsigned shared_bytes = 0;
  unsigned char* shared = nullptr;              // what threads see
  unsigned char* shared_async = nullptr;        // what the async proxy sees
  Groups products[kMaxThreads / kWarpgroup];    // wgmma
  bool fenced[kMaxThreads / kWarpgroup] = {};   // wgmma.fence since the last wait for wgmma
  std::vector<std::function<void()>> arriving;  // bulk loads, in no order
  std::vector<Unfenced> unfenced;
  bool meeting = false;  // what threads do together is done, in the name of all
};

// Initial-exec: one instruction, also in a shared library.
extern thread_local Thread* self __attribute__((tls_model("initial-exec")));
extern thread_local Block* block __attribute__((tls_model("initial-exec")));

// Ends the launch with a Fault.
[[noreturn]] void fail(const std::string& what);
inline void require(bool condition, const char* what) {
  if (!condition) fail(what);
}

// ---- waiting and meeting -------------------------------------------------------------------------------------------

// What a thread waits for, told when all wait. `describe` says more about the object.
struct Wait {
  const char* op;
  const void* object = nullptr;
  unsigned value = 0;
  std::string (*describe)(const void* object, unsigned value) = nullptr;
};
void wait_on(const void* object, const Wait& what);
void wake_all(const void* object);

// bar.sync (waits) and bar.arrive. threads = 0: all of the block that have not ended.
void barrier(unsigned id, unsigned threads, bool waits, const char* op);

// Asynchronous work that a later wait on an mbarrier is for. Early work is done at once.
void arrives_later(std::function<void()> work);

using Meeting = void (*)(void* const* frames);
void meet_warp(uint32_t mask, const char* op, void* frame, Meeting body);
void meet_whole_warp(const char* op, void* frame, Meeting body);
void meet_warpgroup(const char* op, void* frame, Meeting body);

// The lanes of mask meet and the last runs body(frames) for all; frames[lane] is null for a lane that is not in mask.
template <class Frame, class Body>
void warp_collective(uint32_t mask, const char* op, Frame& frame, Body) {
  meet_warp(mask, op, &frame, [](void* const* f) { Body{}(reinterpret_cast<Frame* const*>(f)); });
}
// The same for an instruction that is .aligned: all 32 lanes.
template <class Frame, class Body>
void warp_collective(const char* op, Frame& frame, Body) {
  meet_whole_warp(op, &frame, [](void* const* f) { Body{}(reinterpret_cast<Frame* const*>(f)); });
}
// And for the 128 threads of a warpgroup.
template <class Frame, class Body>
void warpgroup_collective(const char* op, Frame& frame, Body) {
  meet_warpgroup(op, &frame, [](void* const* f) { Body{}(reinterpret_cast<Frame* const*>(f)); });
}
void warp_barrier(uint32_t mask);

// ---- launching -----------------------------------------------------------------------------------------------------

struct Launch {
  dim3 grid, dim;
  unsigned shared_bytes = 0;
  std::function<void()> kernel;   // what one thread does
  const void* address = nullptr;  // of the kernel
};
void run(const Launch& launch);

// What launches of one kernel did together, while settings.count was on. All of uint64_t: tests read it as an array.
struct KernelCounters {
  uint64_t address, launches, blocks, threads, shared_bytes;  // the last two of a block
  Counters counters;
};
// This OS thread's.
std::vector<KernelCounters>& kernel_counters();

// What a launch on a stream does with its work: whoever has streams sets it. At first it does the work at once.
extern void (*submit)(void* stream, std::function<void()> work);

// ---- the race detector: ThreadSanitizer, where it was compiled in --------------------------------------------------

// Accesses that the compiler does not see: those of copies and of ldmatrix.
void reads(const void* data, unsigned bytes);
void writes(const void* data, unsigned bytes);
// All that a thread did before releases(x) comes before what another does after acquires(x).
void releases(const void* object);
void acquires(const void* object);

}  // namespace pyformer::emulated

#define threadIdx (::pyformer::emulated::self->index)
#define blockIdx (::pyformer::emulated::block->index)
#define blockDim (::pyformer::emulated::block->dim)
#define gridDim (::pyformer::emulated::block->grid)
