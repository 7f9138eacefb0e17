#include "pyformer/cuda/emulated.h"

#include <sys/mman.h>

#include <bit>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <utility>

#include "pyformer/cuda/emulated_count.h"
#include "pyformer/cuda/emulated_races.h"
#include "pyformer/cuda/emulated_switch.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace pyformer::emulated {

thread_local Thread* self = nullptr;
thread_local Block* block = nullptr;
thread_local Counters counters = {};

namespace {

constexpr size_t kStackBytes = 64 << 10, kGuardBytes = 4096;
constexpr unsigned kGuardBand = 64;  // bytes behind shared memory
constexpr unsigned char kGuard = 0xa5;

struct Fiber : Thread {
  Context context;
  void* races = nullptr;
  Wait waits{nullptr};
};

// Lanes of one mask that meet. It is free while nobody has arrived.
struct Gather {
  uint32_t mask = 0, arrived = 0;
  const char* op = nullptr;
  Meeting body = nullptr;
  void* frame[kWarp] = {};
};

struct WarpgroupGather {
  unsigned arrived = 0;
  const char* op = nullptr;
  void* frame[kWarpgroup] = {};
};

struct Barrier {
  unsigned arrived = 0, threads = 0;
  bool all = false;  // of the block, of which threads may end
  bool phase = false;
  char order[2] = {};  // what the race detector knows of this phase and of the next
  std::vector<unsigned> waiting;

  void add_waiting(unsigned thread) {
    const Unwatched unwatched;
    waiting.push_back(thread);
  }
};

struct Parked {
  const void* on;
  unsigned thread;
};

// One OS thread's: a block that runs, and the memory that all its blocks use in turn.
struct Machine : Block {
  unsigned threads = 0, live = 0;
  uint64_t ready[kMaxThreads / 64] = {};
  uint32_t warp_live[kMaxThreads / kWarp] = {};
  Fiber fiber[kMaxThreads];
  Gather warp[kMaxThreads / kWarp][kWarp];
  char warp_order[kMaxThreads / kWarp] = {};
  WarpgroupGather warpgroup[kMaxThreads / kWarpgroup];
  Barrier barriers[16];
  std::vector<Parked> parked;
  Context scheduler;
  void* scheduler_races = nullptr;
  const Launch* launch = nullptr;
  uint64_t random = 1;
  std::string fault;
  unsigned char* stacks = nullptr;

  Machine();
};

unsigned char* map_memory(size_t bytes) {
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) throw Fault("emulated kernel: no memory for the threads' stacks");
  return static_cast<unsigned char*>(data);
}

Machine::Machine() {
  stacks = map_memory(kMaxThreads * kStackBytes);
  for (unsigned i = 0; i < kMaxThreads; ++i) mprotect(stacks + i * kStackBytes, kGuardBytes, PROT_NONE);
  shared = map_memory(kMaxSharedBytes + kGuardBytes);
  shared_async = map_memory(kMaxSharedBytes + kGuardBytes);
}

Machine& machine() {
  static thread_local Machine* const m = new Machine;
  return *m;
}
Machine& running() { return *static_cast<Machine*>(block); }
Fiber& current() { return *static_cast<Fiber*>(self); }

std::string shown(const dim3& d) {
  return "(" + std::to_string(d.x) + ", " + std::to_string(d.y) + ", " + std::to_string(d.z) + ")";
}

// ---- choosing ------------------------------------------------------------------------------------------------------

uint32_t draw(Machine& m) {
  m.random = m.random * 6364136223846793005ull + 1442695040888963407ull;
  return uint32_t(m.random >> 33);
}

unsigned lowest_bit(uint64_t word) { return unsigned(std::countr_zero(word)); }

int lowest_ready_from(const Machine& m, unsigned first) {
  const unsigned words = (m.threads + 63) / 64;
  for (unsigned i = 0; i <= words; ++i) {
    const unsigned w = (first / 64 + i) % words;
    const uint64_t bits = i ? m.ready[w] : m.ready[w] & (~uint64_t(0) << (first % 64));
    if (bits) return int(w * 64 + lowest_bit(bits));
  }
  return -1;
}

int highest_ready(const Machine& m) {
  for (unsigned w = (m.threads + 63) / 64; w-- > 0;)
    if (m.ready[w]) return int(w * 64 + 63 - unsigned(std::countl_zero(m.ready[w])));
  return -1;
}

// Lowest and highest let one end of the block run ahead as far as barriers allow: that finds a barrier that is missing.
int choose_thread(Machine& m) {
  if (settings.order == Order::lowest) return lowest_ready_from(m, 0);
  if (settings.order == Order::highest) return highest_ready(m);
  return lowest_ready_from(m, draw(m) % m.threads);
}

std::vector<unsigned> order_of_blocks(Machine& m, unsigned count) {
  std::vector<unsigned> blocks(count);
  for (unsigned i = 0; i < count; ++i) blocks[i] = settings.order == Order::highest ? count - 1 - i : i;
  if (settings.order == Order::drawn)
    for (unsigned i = count; i > 1; --i) std::swap(blocks[i - 1], blocks[draw(m) % i]);
  return blocks;
}

// ---- switching -----------------------------------------------------------------------------------------------------

void set_ready(Machine& m, unsigned thread) { m.ready[thread / 64] |= uint64_t(1) << (thread % 64); }
void set_waiting(Machine& m, unsigned thread) { m.ready[thread / 64] &= ~(uint64_t(1) << (thread % 64)); }

void enter_scheduler(Machine& m, Context& from) {
  self = nullptr;
  enter_fiber(m.scheduler_races);
  switch_stack(from, m.scheduler);
}

// "threads 0 to 31: bar.sync 1 (32 of 64 have arrived)", a line for each run of threads that wait for the same.
std::string who_waits(const Machine& m) {
  std::ostringstream text;
  for (unsigned t = 0; t < m.threads;) {
    const Wait& w = m.fiber[t].waits;
    unsigned end = t + 1;
    const auto same = [&](const Wait& o) { return o.op == w.op && o.object == w.object && o.value == w.value; };
    while (end < m.threads && same(m.fiber[end].waits)) ++end;
    if (w.op) {
      text << "\n  thread" << (end - t > 1 ? "s " : " ") << t;
      if (end - t > 1) text << " to " << end - 1;
      text << ": " << w.op;
      if (w.describe) text << ' ' << w.describe(w.object, w.value);
    }
    t = end;
  }
  return text.str();
}

// Bulk loads that nobody has seen yet happen when nobody can go on without them.
void do_arriving(Machine& m) {
  const Unwatched unwatched;
  const size_t i = settings.order == Order::drawn ? draw(m) % m.arriving.size() : 0;
  const std::function<void()> work = std::move(m.arriving[i]);
  m.arriving.erase(m.arriving.begin() + long(i));
  work();
}

void run_next(Context& from) {
  Machine& m = running();
  int next = choose_thread(m);
  while (next < 0 && m.live && !m.arriving.empty()) {
    do_arriving(m);
    next = choose_thread(m);
  }
  if (next < 0 && m.live) fail("all threads wait:" + who_waits(m));
  ++counters.switches;
  if (next < 0) return enter_scheduler(m, from);
  Fiber& to = m.fiber[next];
  if (&to == self) return;
  self = &to;
  enter_fiber(to.races);
  switch_stack(from, to.context);
}

void wait(const Wait& what) {
  Fiber& f = current();
  f.waits = what;
  set_waiting(running(), f.id);
  run_next(f.context);
  f.waits.op = nullptr;
}

}  // namespace

void fail(const std::string& what) {
  if (!block) throw Fault("emulated kernel: " + what);
  Machine& m = running();
  m.fault = "emulated kernel: block " + shown(m.index) + (self ? ", thread " + shown(self->index) : "") + ": " + what;
  if (self) enter_scheduler(m, current().context);
  throw Fault(m.fault);
}

void wait_on(const void* object, const Wait& what) {
  {
    const Unwatched unwatched;
    running().parked.push_back({object, self->id});
  }
  wait(what);
}

void wake_all(const void* object) {
  const Unwatched unwatched;
  Machine& m = running();
  std::erase_if(m.parked, [&](const Parked& p) {
    if (p.on == object) set_ready(m, p.thread);
    return p.on == object;
  });
}

// ---- barriers ------------------------------------------------------------------------------------------------------

namespace {

std::string describe_barrier(const void* object, unsigned id) {
  const Barrier& b = *static_cast<const Barrier*>(object);
  return std::to_string(id) + ", where " + std::to_string(b.arrived) + " of " + std::to_string(b.threads) + " are";
}

void release_if_due(Machine& m, Barrier& b) {
  if (!b.arrived || b.arrived < b.threads) return;
  for (const unsigned thread : b.waiting) set_ready(m, thread);
  b.waiting.clear();
  b.arrived = 0;
  b.phase = !b.phase;
}

}  // namespace

void barrier(unsigned id, unsigned threads, bool waits, const char* op) {
  Machine& m = running();
  require(id < 16 && threads % kWarp == 0, "a named barrier is one of 0 to 15, for a multiple of 32 threads");
  Barrier& b = m.barriers[id];
  const unsigned expected = threads ? threads : m.live;
  if (b.arrived && b.threads != expected) fail(std::string(op) + ": threads disagree on how many it is for");
  b.threads = expected, b.all = threads == 0;
  ++counters.barriers;
  char* const order = &b.order[b.phase];
  releases(order);
  ++b.arrived;
  const bool last = b.arrived == b.threads;
  if (waits && !last) b.add_waiting(self->id);
  release_if_due(m, b);
  if (waits && !last) wait({op, &b, id, describe_barrier});
  if (waits) acquires(order);
}

// ---- meeting -------------------------------------------------------------------------------------------------------

namespace {

bool complete_if_due(Machine& m, unsigned warp, Gather& g) {
  if (!g.arrived || g.arrived != (g.mask & m.warp_live[warp])) return false;
  {
    const Unwatched unwatched;
    m.meeting = true;
    g.body(g.frame);
    m.meeting = false;
  }
  for (uint32_t lanes = g.arrived; lanes; lanes &= lanes - 1) set_ready(m, warp * kWarp + lowest_bit(lanes));
  g.arrived = 0;
  return true;
}

// Lanes wait for this one to come to g, and it waits for them to come to another: neither ever happens.
void check_that_lanes_meet(const Gather& g, unsigned lane, uint32_t mask, const char* op) {
  if (!(g.mask >> lane & 1) || !(g.arrived & mask)) return;
  if (g.op == op) fail(std::string(op) + ": lanes that must meet name different masks");
  fail("lanes that must meet are at different instructions: " + std::string(g.op) + " and " + op);
}

Gather& gather_of(Machine& m, unsigned warp, unsigned lane, uint32_t mask, const char* op) {
  Gather* free = nullptr;
  for (Gather& g : m.warp[warp]) {
    if (!g.arrived) {
      free = free ? free : &g;
    } else if (g.mask == mask && g.op == op) {
      return g;
    } else {
      check_that_lanes_meet(g, lane, mask, op);
    }
  }
  std::memset(free->frame, 0, sizeof free->frame);
  free->mask = mask, free->op = op;
  return *free;
}

}  // namespace

void meet_warp(uint32_t mask, const char* op, void* frame, Meeting body) {
  Machine& m = running();
  const unsigned warp = self->warp, lane = self->lane;
  if (!(mask >> lane & 1)) fail(std::string(op) + ": the mask leaves out a lane that executes it");
  Gather& g = gather_of(m, warp, lane, mask, op);
  g.frame[lane] = frame;
  g.body = body;
  g.arrived |= uint32_t(1) << lane;
  if (!complete_if_due(m, warp, g)) wait({op});
}

void meet_whole_warp(const char* op, void* frame, Meeting body) {
  if (running().warp_live[self->warp] != ~0u) fail(std::string(op) + ": not all 32 lanes of the warp are there");
  meet_warp(~0u, op, frame, body);
}

void meet_warpgroup(const char* op, void* frame, Meeting body) {
  Machine& m = running();
  const unsigned group = self->id / kWarpgroup;
  WarpgroupGather& g = m.warpgroup[group];
  if (!g.arrived) g.op = op;
  if (g.op != op) fail("threads that must meet are at different instructions: " + std::string(g.op) + " and " + op);
  g.frame[self->id % kWarpgroup] = frame;
  if (++g.arrived < kWarpgroup) return wait({op});
  g.arrived = 0;
  {
    const Unwatched unwatched;
    m.meeting = true;
    body(g.frame);
    m.meeting = false;
  }
  for (unsigned i = 0; i < kWarpgroup; ++i) set_ready(m, group * kWarpgroup + i);
}

void warp_barrier(uint32_t mask) {
  char* const order = &running().warp_order[self->warp];
  char frame = 0;
  releases(order);
  meet_warp(mask, "__syncwarp", &frame, [](void* const*) {});
  acquires(order);
}

// ---- launching -----------------------------------------------------------------------------------------------------

namespace {

void check_end_of_thread(const Machine& m, const Thread& t) {
  require(t.copies.idle(), "a thread ends while its cp.async are under way");
  require(t.stores.idle(), "a thread ends while its bulk stores are under way");
  require(m.products[t.id / kWarpgroup].idle(), "a thread ends while its wgmma are under way");
}

void finish_thread() {
  Machine& m = running();
  Fiber& f = current();
  check_end_of_thread(m, f);
  set_waiting(m, f.id);
  --m.live;
  m.warp_live[f.warp] &= ~(uint32_t(1) << f.lane);
  releases(&m);
  for (Gather& g : m.warp[f.warp]) complete_if_due(m, f.warp, g);
  for (Barrier& b : m.barriers) {
    if (!b.all || !b.arrived) continue;
    --b.threads;
    release_if_due(m, b);
  }
  run_next(f.context);
}

void thread_main() {
  acquires(block);
  running().launch->kernel();
  finish_thread();
  std::abort();  // nobody switches to a thread that has ended
}

// A thread never returns from its first function, so the address sanitizer keeps what it marked on the stack.
void clear_marks([[maybe_unused]] unsigned char* stack) {
#if defined(__SANITIZE_ADDRESS__)
  ASAN_UNPOISON_MEMORY_REGION(stack + kGuardBytes, kStackBytes - kGuardBytes);
#endif
}

void prepare_thread(Machine& m, unsigned id) {
  Fiber& f = m.fiber[id];
  f.id = id, f.warp = id / kWarp, f.lane = id % kWarp;
  f.index = {id % m.dim.x, id / m.dim.x % m.dim.y, id / m.dim.x / m.dim.y};
  f.waits.op = nullptr;
  if (!f.races) f.races = new_fiber();
  clear_marks(m.stacks + id * kStackBytes);
  prepare(f.context, m.stacks + id * kStackBytes, kStackBytes, &thread_main);
  m.warp_live[f.warp] |= uint32_t(1) << f.lane;
  set_ready(m, id);
}

void check_guard_band(const Machine& m) {
  for (unsigned i = 0; i < kGuardBand; ++i)
    require(m.shared[m.shared_bytes + i] == kGuard, "a thread wrote past the end of shared memory");
}

void run_block(Machine& m) {
  self = nullptr;
  m.meeting = false;
  m.live = m.threads;
  m.unfenced.clear();
  for (bool& fenced : m.fenced) fenced = false;
  std::memset(m.warp_live, 0, sizeof m.warp_live);
  std::memset(m.shared, 0xff, m.shared_bytes);
  std::memset(m.shared + m.shared_bytes, kGuard, kGuardBand);
  std::memset(m.shared_async, 0xff, m.shared_bytes);
  m.scheduler_races = current_fiber();
  releases(&m);
  for (unsigned i = 0; i < m.threads; ++i) prepare_thread(m, i);
  run_next(m.scheduler);
  acquires(&m);
  if (!m.fault.empty()) throw Fault(m.fault);
  require(m.arriving.empty(), "a block ends while bulk loads are under way");
  count_rest();
  check_guard_band(m);
}

// Threads of a block that failed are left where they were.
void forget_threads(Machine& m) {
  for (Fiber& f : m.fiber) {
    f.copies.clear(), f.stores.clear();
    if (f.races) end_fiber(f.races);
    f.races = nullptr;
  }
  for (auto& warp : m.warp)
    for (Gather& g : warp) g.arrived = 0;
  for (WarpgroupGather& g : m.warpgroup) g.arrived = 0;
  for (Barrier& b : m.barriers) b = {};
  for (Groups& g : m.products) g.clear();
  for (uint64_t& word : m.ready) word = 0;
  forget_accesses();
  m.parked.clear(), m.arriving.clear(), m.fault.clear();
}

void check_limits(const Launch& l) {
  const uint64_t threads = uint64_t(l.dim.x) * l.dim.y * l.dim.z;
  require(threads >= 1 && threads <= kMaxThreads, "a block has 1 to 1,024 threads");
  require(l.grid.x && l.grid.y && l.grid.z && l.grid.x <= 0x7fffffffu && l.grid.y <= 65535 && l.grid.z <= 65535,
          "a grid is 1 to 2^31 - 1 by 1 to 65,535 by 1 to 65,535 blocks");
  if (l.shared_bytes > settings.shared_bytes)
    fail("a block has at most " + std::to_string(settings.shared_bytes >> 10) + " KiB of shared memory");
}

}  // namespace

void run(const Launch& launch) {
  const Unwatched unwatched;
  check_limits(launch);
  Machine& m = machine();
  m.launch = &launch;
  m.grid = launch.grid, m.dim = launch.dim, m.shared_bytes = launch.shared_bytes;
  m.threads = m.dim.x * m.dim.y * m.dim.z;
  m.random = settings.seed;
  const Counters before = counters;
  block = &m;
  try {
    for (const unsigned i : order_of_blocks(m, m.grid.x * m.grid.y * m.grid.z)) {
      m.index = {i % m.grid.x, i / m.grid.x % m.grid.y, i / m.grid.x / m.grid.y};
      run_block(m);
    }
  } catch (...) {
    forget_threads(m);
    block = nullptr, self = nullptr;
    throw;
  }
  block = nullptr;
  if (settings.count) count_launch(launch, before);
}

void (*submit)(void*, std::function<void()>) = [](void*, std::function<void()> work) { work(); };

}  // namespace pyformer::emulated
