// The library of a CUDA device: memory that is kept for reuse, streams of threads, and the kernel tables, as a
// DeviceApi.
#include <pthread.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <unordered_map>
#include <vector>

#include "pyformer/cuda/backend.h"
#include "pyformer/cuda/kernel_tables.h"

namespace pyformer::cuda {
namespace {

constexpr int kMaxDevices = 16;  // what a thread keeps of each lies in the little memory that libraries share
constexpr Failure kForked =
    "the process was forked after it had used this device, which a child cannot share; start children by spawn";

// ---- processes and threads ----------------------------------------------------------------------------------------

std::atomic<bool> in_forked_child{false};

void watch_forks() {
  static const int registered = pthread_atfork(nullptr, nullptr, [] { in_forked_child = true; });
  (void)registered;
}

thread_local int current_device = 0;

Failure use(int device) {
  if (in_forked_child) return kForked;
  watch_forks();
  current_device = device;
  return use_device(device);
}

// ---- streams ------------------------------------------------------------------------------------------------------

// Those that ended are used again and never destroyed: whoever still knows one may wait for it.
std::mutex streams_mutex;
std::vector<Stream> ended_streams[kMaxDevices];

Failure make(int device, void** stream) {
  if (const Failure failure = use(device)) return failure;
  const std::lock_guard lock(streams_mutex);
  std::vector<Stream>& ended = ended_streams[device];
  if (ended.empty()) return make_stream(device, stream);
  *stream = ended.back();
  ended.pop_back();
  return nullptr;
}

void destroy(void* stream, int device) {
  const std::lock_guard lock(streams_mutex);
  if (stream) ended_streams[device].push_back(stream);
}

// What a thread records, the memory that is kept for it, and where: a stream on which nothing runs.
struct Graph {
  Stream stream, home;  // home: the stream of the thread that recorded
  void* recorded = nullptr;
  std::vector<std::pair<void*, int64_t>> kept;  // blocks from before that were given back meanwhile, and their bytes
};

// Of a thread: its own streams, made when they are first needed, those that it chose, and what it records.
struct ThreadStreams {
  std::array<Stream, kMaxDevices> own{}, chosen{};
  std::array<Graph*, kMaxDevices> recording{};
  ~ThreadStreams() {
    for (int device = 0; device < kMaxDevices; ++device) destroy(own[size_t(device)], device);
  }
};
thread_local ThreadStreams here;

Graph* recording_on(int device) { return here.recording[size_t(device)]; }

// Where tensors are said to be used: what is recorded belongs to the stream from which it was begun.
void* current(int device) {
  Stream& chosen = here.chosen[size_t(device)];
  Stream& own = here.own[size_t(device)];
  if (!chosen && !own && !make(device, &own)) chosen = own;
  return chosen;
}

// Where work is queued.
Stream stream_on(int device) {
  const Graph* const graph = recording_on(device);
  return graph ? graph->stream : current(device);
}

constexpr Failure kRecorded =
    "nothing may be waited for while a graph is recorded: no item(), no .to(\"cpu\"), no printing, no synchronize()";

// ---- memory -------------------------------------------------------------------------------------------------------

// Blocks come in classes, four to a power of two, so that a block fits the next tensor of about that size.
int64_t block_bytes(int64_t bytes) {
  constexpr int64_t kLeast = 512;
  if (bytes <= kLeast) return kLeast;
  const int64_t step = int64_t(1) << (61 - __builtin_clzll(uint64_t(bytes - 1)));
  return (bytes + step - 1) / step * step;
}

struct Block {
  int64_t bytes;
  Stream stream;     // on which it was handed out, and to which it returns
  bool is_recorded;  // handed out while a graph was recorded
};
using Place = std::pair<Stream, int64_t>;

struct DevicePool {
  std::mutex mutex;
  std::unordered_map<void*, Block> live;
  std::map<Place, std::vector<void*>> free;
  std::map<Stream, Graph*> graphs;  // by the stream whose blocks are theirs alone
  MemoryStatistics statistics{};
};
DevicePool pools[kMaxDevices];

Failure trim(int device) {
  if (const Failure failure = use(device)) return failure;
  DevicePool& pool = pools[device];
  const std::lock_guard lock(pool.mutex);
  const auto is_kept = [&](const auto& entry) { return pool.graphs.count(entry.first.first) > 0; };
  // What is queued may still use them.
  for (const auto& entry : pool.free)
    if (!is_kept(entry) && !entry.second.empty())
      if (const Failure failure = wait_for_stream(device, entry.first.first)) return failure;
  std::erase_if(pool.free, [&](auto& entry) {
    if (is_kept(entry)) return false;
    for (void* block : entry.second) give_memory_back(device, block);
    pool.statistics.cached -= entry.first.second * int64_t(entry.second.size());
    return true;
  });
  return nullptr;
}

// A block that waited to be reused, or null.
void* take_cached(DevicePool& pool, Stream stream, int64_t bytes) {
  const auto found = pool.free.find({stream, bytes});
  if (found == pool.free.end() || found->second.empty()) return nullptr;
  void* const data = found->second.back();
  found->second.pop_back();
  pool.statistics.cached -= bytes;
  return data;
}

void* take_block(int device, Stream stream, int64_t bytes) {
  DevicePool& pool = pools[device];
  const std::lock_guard lock(pool.mutex);
  void* data = take_cached(pool, stream, bytes);
  if (!data) data = take_memory(device, bytes);
  if (!data) return nullptr;
  pool.live[data] = {bytes, stream, recording_on(device) != nullptr};
  pool.statistics.in_use += bytes;
  if (pool.statistics.in_use > pool.statistics.peak) pool.statistics.peak = pool.statistics.in_use;
  return data;
}

Failure allocate(int64_t bytes, int device, void** data) {
  *data = nullptr;
  if (const Failure failure = use(device)) return failure;
  if (bytes > int64_t(1) << 46) return nullptr;
  const int64_t size = block_bytes(with_guard(bytes));
  const Stream stream = stream_on(device);
  *data = take_block(device, stream, size);
  if (!*data) {
    if (const Failure failure = trim(device)) return failure;
    *data = take_block(device, stream, size);
  }
  if (*data) hand_out(device, *data, bytes, stream);
  return nullptr;
}

// `stream`, where it was used last, may still use it: the next on the block's own stream must wait.
void release(void* data, int64_t bytes, int device, void* stream) {
  if (in_forked_child) return;
  DevicePool& pool = pools[device];
  const std::lock_guard lock(pool.mutex);
  const auto found = pool.live.find(data);
  const Block block = found->second;
  Graph* const recording = recording_on(device);
  const auto owner = pool.graphs.find(block.stream);
  // What is recorded may read it at each replay.
  const bool is_kept = recording && block.stream != recording->stream;
  // Memory that a graph keeps is handed out again when its home is done.
  const Stream next = is_kept ? recording->home : owner != pool.graphs.end() ? owner->second->home : block.stream;
  if (stream != next && !use(device)) (void)order_streams(device, stream, next);
  if (is_kept) return recording->kept.emplace_back(data, bytes), void();
  pool.live.erase(found);
  if (recording || !block.is_recorded) take_back(device, data, bytes, block.stream);
  pool.free[{block.stream, block.bytes}].push_back(data);
  pool.statistics.in_use -= block.bytes;
  pool.statistics.cached += block.bytes;
}

void statistics(int device, MemoryStatistics* found) {
  const std::lock_guard lock(pools[device].mutex);
  *found = pools[device].statistics;
}

// Pinned memory of the host is read when the copy runs, and its owner may write to it before: by way of other memory.
Failure copy_pinned(void* to, const void* from, int64_t bytes, int device) {
  constexpr int64_t kPiece = int64_t(1) << 24;
  const std::unique_ptr<char[]> piece(new (std::nothrow) char[size_t(std::min(bytes, kPiece))]);
  if (!piece) return "no memory on the host to copy from pinned memory";
  for (int64_t first = 0; first < bytes; first += kPiece) {
    const int64_t count = std::min(kPiece, bytes - first);
    std::memcpy(piece.get(), static_cast<const char*>(from) + first, size_t(count));
    if (const Failure failure =
            copy_memory(static_cast<char*>(to) + first, piece.get(), count, Direction::to_device, stream_on(device)))
      return failure;
  }
  return nullptr;
}

Failure copy(void* to, const void* from, int64_t bytes, Direction direction, int device) {
  if (const Failure failure = use(device)) return failure;
  if (direction == Direction::to_host && recording_on(device)) return kRecorded;
  if (direction == Direction::to_device && is_pinned(from)) return copy_pinned(to, from, bytes, device);
  return copy_memory(to, from, bytes, direction, stream_on(device));
}

Failure fill(void* to, uint8_t value, int64_t bytes, int device) {
  if (const Failure failure = use(device)) return failure;
  return bytes ? fill_memory(to, value, bytes, stream_on(device)) : nullptr;
}

// ---- streams and graphs -------------------------------------------------------------------------------------------

Failure enter(void* stream, int device, void** before) {
  if (const Failure failure = use(device)) return failure;
  if (recording_on(device)) return "a graph is recorded on one stream";
  *before = current(device);
  here.chosen[size_t(device)] = stream;
  return order_streams(device, *before, stream);
}

Failure order(void* earlier, void* later, int device) {
  if (const Failure failure = use(device)) return failure;
  return order_streams(device, earlier, later);
}

Failure wait(int device) {
  if (const Failure failure = use(device)) return failure;
  return recording_on(device) ? kRecorded : wait_for_stream(device, current(device));
}

Failure begin(int device) {
  const Stream home = current(device);
  Stream stream = nullptr;
  if (const Failure failure = make(device, &stream)) return failure;
  Failure failure = order_streams(device, home, stream);
  // The memory that it had before goes to the recording, which is replayed at home.
  if (!failure) failure = order_streams(device, stream, home);
  if (!failure) failure = begin_recording(device, stream);
  if (failure) return destroy(stream, device), failure;
  auto* const graph = new Graph{stream, home, nullptr, {}};
  here.recording[size_t(device)] = graph;
  const std::lock_guard lock(pools[device].mutex);
  pools[device].graphs[stream] = graph;
  return nullptr;
}

Failure end(int device, void** graph) {
  Graph* const ended = recording_on(device);
  here.recording[size_t(device)] = nullptr;
  *graph = ended;
  return end_recording(device, ended->stream, &ended->recorded);
}

Failure launch(void* graph, int device) {
  if (const Failure failure = use(device)) return failure;
  if (recording_on(device)) return "a graph is no part of another";
  const Graph& g = *static_cast<Graph*>(graph);
  const Stream stream = current(device);
  if (const Failure failure = order_streams(device, stream, g.home)) return failure;
  if (const Failure failure = queue_graph(device, g.recorded, g.home)) return failure;
  return order_streams(device, g.home, stream);
}

// Its blocks are anybody's from now on.
void discard(void* graph, int device) {
  if (in_forked_child || use(device)) return;
  auto* const g = static_cast<Graph*>(graph);
  (void)wait_for_stream(device, g->home);
  destroy_graph(g->recorded);
  {
    const std::lock_guard lock(pools[device].mutex);
    pools[device].graphs.erase(g->stream);
  }
  for (const auto& [data, bytes] : g->kept) release(data, bytes, device, g->home);
  destroy(g->stream, device);
  delete g;
}

Failure properties(int device, DeviceProperties* found) {
  if (const Failure failure = use(device)) return failure;
  return properties_of(device, found);
}

// The driver is started by it, and a child cannot share that.
int count() {
  if (in_forked_child) return 0;
  watch_forks();
  return device_count() < kMaxDevices ? device_count() : kMaxDevices;
}

Failure why() { return in_forked_child ? kForked : why_no_device(); }

}  // namespace

Scratch::Scratch(int64_t bytes) : device_(current_device), bytes_(bytes) {
  if (allocate(bytes_, device_, &data_) || !data_) throw std::bad_alloc();
}
Scratch::~Scratch() { release(data_, bytes_, device_, current(device_)); }

Stream current_stream() { return stream_on(current_device); }

}  // namespace pyformer::cuda

extern "C" __attribute__((visibility("default"))) const pyformer::DeviceApi* pyformer_device_api() {
  using namespace pyformer::cuda;
  static const pyformer::DeviceApi api = {
      .abi = pyformer::DeviceApi::kAbi,
      .bytes = sizeof(pyformer::DeviceApi),
      .kind = kKind,
      .dlpack_type = kDlpackType,
      .devices = {.count = &count, .why = &why, .use = &use, .properties = &properties},
      .memory = {.allocate = &allocate,
                 .release = &release,
                 .copy = &copy,
                 .fill = &fill,
                 .statistics = &statistics,
                 .trim = &trim},
      .streams =
          {.make = &make, .destroy = &destroy, .current = &current, .order = &order, .enter = &enter, .wait = &wait},
      .graphs = {.begin = &begin, .end = &end, .launch = &launch, .destroy = &discard},
      .table = &kernel_table};
  return &api;
}
