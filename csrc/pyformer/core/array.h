// Array: shared storage, shape, dtype, device. Always contiguous and row-major; knows nothing of gradients.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "pyformer/base/device.h"
#include "pyformer/base/dtype.h"
#include "pyformer/base/recording.h"
#include "pyformer/core/shape.h"

namespace pyformer {

// A block of a device's memory and the number of writes in place it has seen. Threads may hand it to each other: it
// knows the streams on which it was used, and whoever uses it next on another one comes behind all of them, as does
// whoever gets the memory after it. To know the last one would not do: of two threads that read it at once, each may
// come to it before the other has queued its kernel.
class Storage : public std::enable_shared_from_this<Storage> {
 public:
  Storage(int64_t bytes, Device device);  // from the device's caching allocator
  Storage(void* data, int64_t bytes, Device device, std::shared_ptr<void> foreign_owner);  // borrowed memory
  ~Storage();
  Storage(const Storage&) = delete;

  void* data() const {
    if (!device_.is_cpu()) follow();
    return data_;
  }
  int64_t bytes() const { return bytes_; }
  Device device() const { return device_; }
  // What is queued on `stream` from now on comes after what was done with this memory by now.
  void hand_to(void* stream) const;
  // What is done with this memory from now on comes after what is queued on `stream` by now.
  void take_from(void* stream) const;
  // Adds to the streams on which it is used one that lives as long.
  void note_user(void* stream) const;
  bool is_foreign() const { return bool(foreign_owner_); }
  int64_t version() const { return version_.load(std::memory_order_relaxed); }
  void written() { version_.fetch_add(1, std::memory_order_relaxed); }

 private:
  void follow() const;  // orders the calling thread's stream behind those before
  void order_behind_users(void* stream) const;
  void add_user(void* stream) const;

  void* data_;
  int64_t bytes_;
  Device device_;
  mutable std::atomic<void*> stream_;  // the last
  mutable std::mutex users_mutex_;
  mutable std::vector<void*> users_;            // the others; the library's own streams are never destroyed
  mutable std::atomic<bool> is_shared_{false};  // there are others
  std::shared_ptr<void> foreign_owner_;
  std::atomic<int64_t> version_{0};
};

int64_t live_storages();  // for leak tests

// What the calling thread uses on devices from now on is noted there, or nowhere: null.
void note_uses(std::vector<std::weak_ptr<const Storage>>* uses);

class Array {
 public:
  Array() = default;  // undefined: stands for an absent operand or gradient

  static Array empty(const Shape& shape, DType dtype, Device device);
  // For weights: lasting_memory on the CPU. No result of what is recorded.
  static Array lasting(const Shape& shape, DType dtype, Device device);
  static Array zeros(const Shape& shape, DType dtype, Device device);
  static Array borrow(void* data, const Shape& shape, DType dtype, Device device, std::shared_ptr<void> owner);

  // New memory, contents undefined, on this array's device; of its dtype unless another is given.
  Array like(const Shape& shape) const { return like(shape, dtype_); }
  Array like(const Shape& shape, DType dtype) const { return empty(shape, dtype, device()); }
  Array zeros_like(const Shape& shape) const { return zeros_like(shape, dtype_); }
  Array zeros_like(const Shape& shape, DType dtype) const { return zeros(shape, dtype, device()); }

  bool defined() const { return bool(storage_); }
  const Shape& shape() const { return shape_; }
  int ndim() const { return shape_.ndim(); }
  int64_t dim(int axis) const { return shape_[axis]; }
  int64_t size() const { return size_; }
  int64_t bytes() const { return size_ * item_bytes(dtype_); }
  DType dtype() const { return dtype_; }
  Device device() const { return storage_ ? storage_->device() : kCpu; }

  // For code that reads elements on the CPU: TypeError for another dtype or device. Kernels take raw().
  template <class T>
  T* data() const {
    if (DTypeOf<T>::value != dtype_)
      throw TypeError(cat("expected an array of ", name(DTypeOf<T>::value), ", got ", name(dtype_)));
    if (!device().is_cpu()) throw TypeError(cat("expected an array on cpu, got one on ", name(device())));
    return static_cast<T*>(raw());
  }
  void* raw() const { return storage_ ? storage_->data() : nullptr; }

  Array reshape(const Shape& shape) const;  // shares storage; ValueError if the sizes differ
  Array copy() const;
  Array to(Device device) const;  // itself if it is there already

  Storage& storage() const { return *storage_; }
  const std::shared_ptr<Storage>& storage_pointer() const { return storage_; }
  // Nobody else can see this memory, so it may be written to.
  bool owns_alone() const { return storage_.use_count() == 1 && !storage_->is_foreign(); }

 private:
  Array(std::shared_ptr<Storage> storage, const Shape& shape, DType dtype)
      : storage_(std::move(storage)), shape_(shape), size_(shape.size()), dtype_(dtype) {}

  std::shared_ptr<Storage> storage_;
  Shape shape_;
  int64_t size_ = 0;
  DType dtype_ = DType::float32;
};

// Rows of an array (..., C).
inline int64_t rows_of(const Array& x) { return x.shape().outer(x.ndim() - 1); }

// TypeError unless `operand`, if there is one, is on x's device: "layer_norm: weight is on cpu, x on cuda:0".
void check_device(const char* op, const char* which, const Array& operand, const char* x_name, const Array& x);
// The same, and of x's dtype: "layer_norm: weight must be float32 as x is, got float64".
void check_alike(const char* op, const char* which, const Array& operand, const char* x_name, const Array& x);

}  // namespace pyformer
