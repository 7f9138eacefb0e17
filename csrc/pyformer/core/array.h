// Array: shared storage, shape, dtype, device. Always contiguous and row-major; knows nothing of gradients.
#pragma once
#include <atomic>
#include <memory>

#include "pyformer/base/device.h"
#include "pyformer/base/dtype.h"
#include "pyformer/base/recording.h"
#include "pyformer/core/shape.h"

namespace pyformer {

// A block of a device's memory and the number of writes in place it has seen.
class Storage {
 public:
  Storage(int64_t bytes, Device device);  // from the device's caching allocator
  Storage(void* data, int64_t bytes, Device device, std::shared_ptr<void> foreign_owner);  // borrowed memory
  ~Storage();
  Storage(const Storage&) = delete;

  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  Device device() const { return device_; }
  bool is_foreign() const { return bool(foreign_owner_); }
  int64_t version() const { return version_.load(std::memory_order_relaxed); }
  void written() { version_.fetch_add(1, std::memory_order_relaxed); }

 private:
  void* data_;
  int64_t bytes_;
  Device device_;
  std::shared_ptr<void> foreign_owner_;
  std::atomic<int64_t> version_{0};
};

int64_t live_storages();  // for leak tests

class Array {
 public:
  Array() = default;  // undefined: stands for an absent operand or gradient

  static Array empty(const Shape& shape, DType dtype, Device device);
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
