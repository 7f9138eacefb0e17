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

// What a kind of device can do. A stream is the calling thread's, one a device; what is queued on it runs in order.
struct DeviceApi {
  static constexpr int kAbi = 1;
  int abi;
  const char* name;  // of the kind: "cuda"
  int (*count)();    // devices that are there
  // Makes a device the one that the calling thread's kernels are launched on.
  void (*use)(int index);
  void* (*allocate)(int64_t bytes, int index);  // 64-byte aligned, never null for 0 bytes; null: out of memory
  void (*release)(void* data, int64_t bytes, int index);
  // Queued, but for copies to the host, which are done on return.
  void (*copy)(void* to, const void* from, int64_t bytes, Direction direction, int index);
  void (*fill)(void* to, uint8_t value, int64_t bytes, int index);
  // Until all that the calling thread queued is done. Null, or what went wrong.
  const char* (*wait)(int index);
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
// PYFORMER_DEVICE, else the CPU. ValueError as above.
Device default_device();

// Of the CPU too. The reference stays valid.
const DeviceApi& device_api(Device device);

// Memory of a device. OutOfMemory if there is none left; ValueError if bytes < 0.
void* allocate_on(Device device, int64_t bytes);
void release_on(Device device, void* data, int64_t bytes) noexcept;
// bytes from one place to another; both devices are the same or one of them is the CPU.
void copy_between(Device to_device, void* to, Device from_device, const void* from, int64_t bytes);
void fill_on(Device device, void* to, uint8_t value, int64_t bytes);
// RuntimeError if what ran there failed.
void wait_for(Device device);

}  // namespace pyformer
