// Where values live and kernels run: this computer's CPU, or a device that a library of its own brings.
//
// A device library (CUDA's is one) is opened when its device is first asked for. It exports one C function,
//   const pyformer::DeviceApi* pyformer_device_api();
// and its kernels stand in the same tables as the CPU's (kernel.h).
#pragma once
#include <cstdint>
#include <string>

namespace pyformer {

struct Device {
  uint8_t kind = 0;  // 0: the CPU; others are numbered as their libraries are opened
  int8_t index = 0;
  bool is_cpu() const { return kind == 0; }
  friend bool operator==(const Device&, const Device&) = default;
};
constexpr Device kCpu{};

enum class Direction : int { to_device, to_host, within_device };

// What went wrong, or null. The text stays valid.
using Failure = const char*;

struct DeviceProperties {
  char name[256];
  int64_t memory_bytes;
  int major, minor, multiprocessors;  // of a CUDA device: its compute capability; else 0
};

// In bytes. Cached memory was given back and waits to be handed out again.
struct MemoryStatistics {
  int64_t in_use, peak, cached;
};

struct DeviceList {
  int (*count)();    // devices that are there
  Failure (*why)();  // why none is
  // Makes a device the one that the calling thread's kernels are launched on.
  Failure (*use)(int index);
  Failure (*properties)(int index, DeviceProperties* found);
};

struct DeviceMemory {
  // 64-byte aligned, never null for 0 bytes; null without a failure: out of memory.
  Failure (*allocate)(int64_t bytes, int index, void** data);
  // `stream`: where it was used last.
  void (*release)(void* data, int64_t bytes, int index, void* stream);
  // Queued, but for copies to the host, which are done on return. What is copied to the device is read before.
  Failure (*copy)(void* to, const void* from, int64_t bytes, Direction direction, int index);
  Failure (*fill)(void* to, uint8_t value, int64_t bytes, int index);
  void (*statistics)(int index, MemoryStatistics* found);
  Failure (*trim)(int index);  // gives cached memory back to the device
};

// A stream is a queue: what is queued on it runs in order. Each thread has one of its own, unless it chose another. The
// device's own, null, is for exchange with other libraries.
struct DeviceStreams {
  Failure (*make)(int index, void** stream);
  // It may be handed out again. No thread is on it.
  void (*destroy)(void* stream, int index);
  // The calling thread's. Null where a device has none, too.
  void* (*current)(int index);
  // What is queued on `later` from now on comes after what was queued on `earlier`.
  Failure (*order)(void* earlier, void* later, int index);
  // The calling thread queues on this one from now on, behind all that it queued before. Returns the one before.
  Failure (*enter)(void* stream, int index, void** before);
  // Until all that was queued on the calling thread's stream is done.
  Failure (*wait)(int index);
};

// A graph is what a thread queued between `begin` and `end`: none of it runs then, and all of it at each launch. It
// keeps the memory that was handed out meanwhile, and what was given back.
struct DeviceGraphs {
  Failure (*begin)(int index);
  // Null where what was recorded is of no use; the failure says why.
  Failure (*end)(int index, void** graph);
  Failure (*launch)(void* graph, int index);  // on the calling thread's stream
  void (*destroy)(void* graph, int index);
};

// What a kind of device can do: structures that its library fills.
struct DeviceApi {
  static constexpr int kAbi = 3;
  int abi;
  int64_t bytes;     // sizeof(DeviceApi)
  const char* kind;  // "cuda"
  int dlpack_type;   // of DLPack's device types; 0: other libraries can't use its memory
  DeviceList devices;
  DeviceMemory memory;
  DeviceStreams streams;
  DeviceGraphs graphs;
  // The kernel table of an op (Table::name) of that size; null: none.
  const void* (*table)(const char* op, int64_t bytes);
};

// "cpu", "cuda:0", "cuda:emulated". Every kind but the CPU has an index; an index of 0 is not shown where the kind's
// name has a colon.
std::string name(Device device);
// "cpu", a kind ("cuda": its device 0) or a kind and an index ("cuda:1"). Opens the kind's library, which lies beside
// this one or in a folder that PYFORMER_DEVICE_PATH names. ValueError for what is unknown or not there, with the
// reason.
Device device_from_name(const std::string& name);
// The device that DLPack calls so. ValueError if there is none.
Device device_of_dlpack(int type, int index);
// PYFORMER_DEVICE, else the CPU. ValueError as above.
Device default_device();

// Of the CPU too. The reference stays valid.
const DeviceApi& device_api(Device device);

// Memory of a device. OutOfMemory if there is none left; ValueError if bytes < 0.
void* allocate_on(Device device, int64_t bytes);
void release_on(Device device, void* data, int64_t bytes, void* stream) noexcept;
// bytes from one place to another; both devices are the same or one of them is the CPU.
void copy_between(Device to_device, void* to, Device from_device, const void* from, int64_t bytes);
void fill_on(Device device, void* to, uint8_t value, int64_t bytes);
// RuntimeError if what ran there failed.
void wait_for(Device device);
// Makes it the calling thread's. RuntimeError if that cannot be, as after a fork.
void use(Device device);
// RuntimeError that begins with the device's name, unless failure is null.
void throw_if(Failure failure, Device device);

}  // namespace pyformer
