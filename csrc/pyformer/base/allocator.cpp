#include "pyformer/base/allocator.h"

#include <pthread.h>
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <limits>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>

#include "pyformer/base/cgroup.h"
#include "pyformer/base/error.h"

#include <sys/mman.h>
#ifdef __linux__
#include <sys/sysinfo.h>
#endif

namespace pyformer {
namespace {

constexpr int64_t kAlignment = 64;
constexpr int64_t kLargeBytes = int64_t(1) << 20;  // larger blocks are cut from mapped ranges
constexpr int64_t kLargeStep = int64_t(1) << 16;   // and are multiples of this
constexpr int64_t kLastingStep = 4096;             // lasting blocks are multiples of this
constexpr int64_t kHugePage = int64_t(1) << 21;    // ranges are mapped in multiples of this
// Live and cached memory together may exceed the most that was ever live by a tenth and this many bytes. A process that
// trains GPT-2 124M takes 2,357 MiB with this limit and 2,494 MiB with a limit of twice the live memory; with neither
// does it ask the system for memory in later steps.
constexpr int64_t kCacheShare = 10, kCacheSlack = int64_t(64) << 20;
constexpr int64_t kMaxBytes = int64_t(1) << 46;  // more than this is refused without looking at the machine
constexpr int64_t kGuardBytes = 64;
constexpr int kClasses = 8 + 8 * (20 - 9);  // 64, 128, ... 512, then eight per power of two up to 2^20

// ---- size classes ---------------------------------------------------------------------------------------------

struct SizeClass {
  int index;
  int64_t bytes;
};

SizeClass size_class(int64_t bytes) {
  if (bytes <= 512) {
    const int index = bytes <= kAlignment ? 0 : static_cast<int>((bytes - 1) / kAlignment);
    return {index, (index + 1) * kAlignment};
  }
  const int power = 63 - __builtin_clzll(static_cast<uint64_t>(bytes - 1));  // 2^power < bytes <= 2^(power + 1)
  const int64_t step = int64_t(1) << (power - 3);
  const int64_t eighths = (bytes + step - 1) / step;  // 9 .. 16
  return {8 * (power - 9) + static_cast<int>(eighths) - 1, eighths * step};
}

int64_t round_up(int64_t bytes, int64_t step) { return (bytes + step - 1) / step * step; }

// ---- the system -----------------------------------------------------------------------------------------------

bool use_system_allocator() {
  static std::atomic<int> decided{-1};
  int value = decided.load(std::memory_order_relaxed);
  if (value < 0) {
    const char* text = std::getenv("PYFORMER_ALLOCATOR");
    value = text && std::strcmp(text, "system") == 0;
    decided.store(value, std::memory_order_relaxed);
  }
  return value;
}

// The smallest memory limit of the control groups this process is in.
int64_t cgroup_memory() {
  double smallest = static_cast<double>(kMaxBytes);
  for (const std::string& folder : cgroup_folders("", "memory"))
    for (const char* name : {"/memory.max", "/memory.limit_in_bytes"}) {
      double limit = 0;  // stays 0 where the file is missing or says "max"
      std::ifstream(folder + name) >> limit;
      if (limit > 0) smallest = std::min(smallest, limit);
    }
  return static_cast<int64_t>(smallest);
}

// The most bytes that the machine can hold: its memory, or the control group's limit if that is lower, plus swap.
int64_t memory_limit() {
  static std::atomic<int64_t> known{0};
  int64_t limit = known.load(std::memory_order_relaxed);
  if (limit) return limit;
  limit = kMaxBytes;
#ifdef __linux__
  struct sysinfo info;
  if (sysinfo(&info) == 0) {
    const double unit = info.mem_unit;
    const double swap = static_cast<double>(info.totalswap) * unit;
    const double memory = std::min(static_cast<double>(info.totalram) * unit, static_cast<double>(cgroup_memory()));
    limit = static_cast<int64_t>(std::min(memory + swap, static_cast<double>(kMaxBytes)));
  }
#endif
  known.store(limit, std::memory_order_relaxed);
  return limit;
}

// A multiple of kHugePage of anonymous memory that begins at one, or null.
void* map_pages(int64_t bytes) {
#ifdef __linux__
  void* mapped = mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  char* const start = static_cast<char*>(mapped);
  const int64_t before = -reinterpret_cast<int64_t>(start) & (kHugePage - 1);
  if (before) munmap(start, before);
  munmap(start + before + bytes, kHugePage - before);
  madvise(start + before, bytes, MADV_HUGEPAGE);
  return start + before;
#else
  void* mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return mapped == MAP_FAILED ? nullptr : mapped;
#endif
}

void* take_from_heap(int64_t bytes) {
  void* block = nullptr;
  return posix_memalign(&block, kAlignment, bytes) == 0 ? block : nullptr;
}

// ---- the cache ------------------------------------------------------------------------------------------------

// What the allocator writes at the start of a cached block.
struct FreeBlock {
  FreeBlock *newer_in_class, *older_in_class;
  FreeBlock *newer, *older;
  int64_t bytes;
};
static_assert(sizeof(FreeBlock) <= kAlignment);

// A doubly linked list of cached blocks, oldest first, through two members of FreeBlock.
template <FreeBlock* FreeBlock::* Newer, FreeBlock* FreeBlock::* Older>
struct AgeList {
  FreeBlock *newest = nullptr, *oldest = nullptr;

  void push(FreeBlock* block) {
    block->*Newer = nullptr;
    block->*Older = newest;
    (newest ? newest->*Newer : oldest) = block;
    newest = block;
  }
  void remove(FreeBlock* block) {
    (block->*Newer ? block->*Newer->*Older : newest) = block->*Older;
    (block->*Older ? block->*Older->*Newer : oldest) = block->*Newer;
  }
};

// Free ranges of mapped pages. Where they were mapped doesn't matter: neighbours join, and any part can be unmapped.
class FreeRanges {
 public:
  // Cuts `bytes` off the smallest range that holds them; null if there is none.
  char* take(int64_t bytes) {
    const auto found = by_size_.lower_bound({bytes, nullptr});
    if (found == by_size_.end()) return nullptr;
    const auto [size, start] = *found;
    erase(start, size);
    if (size > bytes) insert(start + bytes, size - bytes);
    return start;
  }

  void put(char* start, int64_t bytes) {
    const auto after = by_address_.lower_bound(start);
    if (after != by_address_.end() && after->first == start + bytes) {
      bytes += after->second;
      erase(after->first, after->second);
    }
    auto before = by_address_.lower_bound(start);
    if (before != by_address_.begin() && (--before)->first + before->second == start) {
      start = before->first;
      bytes += before->second;
      erase(before->first, before->second);
    }
    insert(start, bytes);
  }

  // Unmaps at most about `bytes`, from the largest range; returns how many, 0 if there are none.
  int64_t unmap(int64_t bytes) {
    if (by_size_.empty()) return 0;
    const auto [size, start] = *by_size_.rbegin();
    const int64_t unmapped = std::min(size, round_up(bytes, kHugePage));
    erase(start, size);
    if (size > unmapped) insert(start, size - unmapped);
    munmap(start + size - unmapped, unmapped);
    return unmapped;
  }

 private:
  void insert(char* start, int64_t bytes) {
    by_address_.emplace(start, bytes);
    by_size_.emplace(bytes, start);
  }
  void erase(char* start, int64_t bytes) {
    by_address_.erase(start);
    by_size_.erase({bytes, start});
  }

  std::map<char*, int64_t> by_address_;
  std::set<std::pair<int64_t, char*>> by_size_;
};

// Nothing in here has a destructor that runs: blocks may be freed until the process has ended.
struct State {
  std::mutex mutex;
  AgeList<&FreeBlock::newer_in_class, &FreeBlock::older_in_class> classes[kClasses];
  AgeList<&FreeBlock::newer, &FreeBlock::older> all;
  FreeRanges* ranges = nullptr;  // made with the first large block
  MemoryStats stats{};
  int64_t most_live_bytes = 0;  // since the start or empty_cache(); what trimming is measured against
  std::unordered_map<void*, int64_t>* guarded = nullptr;  // live guarded blocks and their sizes
  int64_t violations = 0;
};
constinit State state;
std::atomic<bool> guard_mode{false}, any_guarded{false};

// A fork waits until no other thread changes the lists, so the child finds them whole and the mutex its own.
[[maybe_unused]] const int fork_handlers =
    pthread_atfork([] { state.mutex.lock(); }, [] { state.mutex.unlock(); }, [] { state.mutex.unlock(); });

void count_live(int64_t bytes) {
  MemoryStats& s = state.stats;
  s.live_bytes += bytes;
  s.live_blocks += bytes > 0 ? 1 : -1;
  s.peak_bytes = std::max(s.peak_bytes, s.live_bytes);
  state.most_live_bytes = std::max(state.most_live_bytes, s.live_bytes);
}

void remove_from_cache(FreeBlock* block) {
  state.all.remove(block);
  state.classes[size_class(block->bytes).index].remove(block);
  state.stats.cached_bytes -= block->bytes;
}

// Gives cached memory back until live and cached bytes are at most `keep`: ranges first, then the small blocks unused
// for longest.
void trim(int64_t keep) {
  const auto surplus = [&] { return state.stats.live_bytes + state.stats.cached_bytes - keep; };
  while (surplus() > 0) {
    const int64_t unmapped = state.ranges ? state.ranges->unmap(surplus()) : 0;
    state.stats.cached_bytes -= unmapped;
    if (!unmapped) break;
  }
  while (surplus() > 0 && state.all.oldest) {
    FreeBlock* const block = state.all.oldest;
    remove_from_cache(block);
    free(block);
  }
}

[[noreturn]] void out_of_memory(int64_t bytes) {
  throw OutOfMemory(cat("cannot allocate ", bytes, " bytes (", memory_stats().live_bytes, " in use, the machine holds ",
                        memory_limit(), ")"));
}

// A block from the system. Trims the cache first; if the system refuses, empties the cache and asks once more.
void* allocate_fresh(int64_t bytes, void* (*take)(int64_t)) {
  const int64_t limit = memory_limit();
  {
    std::lock_guard lock(state.mutex);
    const int64_t live = state.stats.live_bytes + bytes;
    if (live > limit) return nullptr;
    const int64_t most = std::max(state.most_live_bytes, live);
    trim(std::min(limit, most + most / kCacheShare + kCacheSlack) - bytes);
    ++state.stats.system_calls;
  }
  void* block = take(bytes);
  if (!block) {
    empty_cache();
    block = take(bytes);
  }
  return block;
}

void* allocate_small(int64_t bytes) {
  const SizeClass size = size_class(bytes);
  {
    std::lock_guard lock(state.mutex);
    if (FreeBlock* block = state.classes[size.index].newest) {
      remove_from_cache(block);
      count_live(size.bytes);
      return block;
    }
  }
  void* const block = allocate_fresh(size.bytes, take_from_heap);
  if (!block) out_of_memory(bytes);
  std::lock_guard lock(state.mutex);
  count_live(size.bytes);
  return block;
}

void deallocate_small(void* data, int64_t bytes) noexcept {
  const SizeClass size = size_class(bytes);
  std::lock_guard lock(state.mutex);
  count_live(-size.bytes);
  FreeBlock* const block = static_cast<FreeBlock*>(data);
  block->bytes = size.bytes;
  state.classes[size.index].push(block);
  state.all.push(block);
  state.stats.cached_bytes += size.bytes;
}

// Under the mutex: a free range, or unmapped where its place can't even be noted.
void cache_range(char* start, int64_t bytes) noexcept {
  try {
    state.ranges->put(start, bytes);
    state.stats.cached_bytes += bytes;
  } catch (const std::bad_alloc&) {
    munmap(start, bytes);
  }
}

// Of a multiple of pages.
void* allocate_range(int64_t held) {
  {
    std::lock_guard lock(state.mutex);
    if (!state.ranges) state.ranges = new FreeRanges;
    if (char* const found = state.ranges->take(held)) {
      state.stats.cached_bytes -= held;
      count_live(held);
      return found;
    }
  }
  const int64_t mapped = round_up(held, kHugePage);
  char* const start = static_cast<char*>(allocate_fresh(mapped, map_pages));
  if (!start) out_of_memory(held);
  std::lock_guard lock(state.mutex);
  count_live(held);
  if (mapped > held) cache_range(start + held, mapped - held);
  return start;
}

void deallocate_range(void* data, int64_t held) noexcept {
  std::lock_guard lock(state.mutex);
  count_live(-held);
  cache_range(static_cast<char*>(data), held);
}

void* allocate_uncached(int64_t bytes) {
  bytes = std::max<int64_t>(bytes, 1);
  void* const block = allocate_fresh(bytes, take_from_heap);
  if (!block) out_of_memory(bytes);
  std::lock_guard lock(state.mutex);
  count_live(bytes);
  return block;
}

void deallocate_uncached(void* data, int64_t bytes) noexcept {
  free(data);
  std::lock_guard lock(state.mutex);
  count_live(-std::max<int64_t>(bytes, 1));
}

void* allocate_block(int64_t bytes) {
  if (bytes > kMaxBytes) out_of_memory(bytes);
  if (use_system_allocator()) return allocate_uncached(bytes);
  return bytes > kLargeBytes ? allocate_range(round_up(bytes, kLargeStep)) : allocate_small(bytes);
}

void deallocate_block(void* data, int64_t bytes) noexcept {
  if (use_system_allocator()) return deallocate_uncached(data, bytes);
  bytes > kLargeBytes ? deallocate_range(data, round_up(bytes, kLargeStep)) : deallocate_small(data, bytes);
}

// ---- guard bands ----------------------------------------------------------------------------------------------

constexpr unsigned char kGuardByte = 0xA5, kFillByte = 0xFF;

bool bands_whole(const void* data, int64_t bytes) {
  const unsigned char* const begin = static_cast<const unsigned char*>(data);
  for (int64_t i = 0; i < kGuardBytes; ++i)
    if (begin[i - kGuardBytes] != kGuardByte || begin[bytes + i] != kGuardByte) return false;
  return true;
}

void* allocate_guarded(int64_t bytes) {
  char* const data = static_cast<char*>(allocate_block(bytes + 2 * kGuardBytes)) + kGuardBytes;
  std::memset(data - kGuardBytes, kGuardByte, kGuardBytes);
  std::memset(data, kFillByte, bytes);
  std::memset(data + bytes, kGuardByte, kGuardBytes);
  std::lock_guard lock(state.mutex);
  (*state.guarded)[data] = bytes;
  return data;
}

// Whether data was a guarded block; it is freed then.
bool deallocate_guarded(void* data, int64_t bytes) noexcept {
  int64_t size = 0;
  {
    std::lock_guard lock(state.mutex);
    const auto found = state.guarded->find(data);
    if (found == state.guarded->end()) return false;
    size = found->second;
    state.violations += size != bytes || !bands_whole(data, size);
    state.guarded->erase(found);
  }
  deallocate_block(static_cast<char*>(data) - kGuardBytes, size + 2 * kGuardBytes);
  return true;
}

}  // namespace

void* allocate(int64_t bytes) {
  if (bytes < 0) throw ValueError(cat("allocate: bytes must not be negative, got ", bytes));
  if (guard_mode.load(std::memory_order_relaxed) && bytes <= kMaxBytes - 2 * kGuardBytes)
    return allocate_guarded(bytes);
  return allocate_block(bytes);
}

void deallocate(void* data, int64_t bytes) noexcept {
  if (!data) return;
  if (any_guarded.load(std::memory_order_relaxed) && deallocate_guarded(data, bytes)) return;
  deallocate_block(data, bytes);
}

std::shared_ptr<void> lasting_memory(int64_t bytes) {
  if (bytes <= 0 || bytes > kMaxBytes || watches_bounds())
    return {allocate(bytes), [bytes](void* data) { deallocate(data, bytes); }};
  const int64_t held = round_up(bytes, kLastingStep);
  return {allocate_range(held), [held](void* data) { deallocate_range(data, held); }};
}

void empty_cache() {
  std::lock_guard lock(state.mutex);
  trim(0);
  state.most_live_bytes = state.stats.live_bytes;
}

MemoryStats memory_stats() {
  std::lock_guard lock(state.mutex);
  return state.stats;
}

void reset_peak_memory() {
  std::lock_guard lock(state.mutex);
  state.stats.peak_bytes = state.stats.live_bytes;
}

void set_guard_mode(bool on) {
  if (on) {
    std::lock_guard lock(state.mutex);
    if (!state.guarded) state.guarded = new std::unordered_map<void*, int64_t>;
    any_guarded.store(true);
  }
  guard_mode.store(on);
}

bool watches_bounds() { return guard_mode.load(std::memory_order_relaxed) || use_system_allocator(); }

int64_t guard_violations() {
  std::lock_guard lock(state.mutex);
  int64_t count = state.violations;
  if (state.guarded)
    for (const auto& [data, bytes] : *state.guarded) count += !bands_whole(data, bytes);
  return count;
}

}  // namespace pyformer
