// Array: shared storage, shape, dtype, device. Always contiguous and row-major; knows nothing of gradients.
#pragma once
#include <atomic>
#include <memory>

#include "pyformer/base/dtype.h"
#include "pyformer/core/shape.h"

namespace pyformer {

enum class Device : uint8_t { cpu, cuda };
const char* name(Device device);
Device device_from_name(const std::string& name);  // ValueError for what is unknown or not there

// A block of memory and the number of writes in place it has seen.
class Storage {
 public:
  explicit Storage(int64_t bytes);                                          // from the caching allocator
  Storage(void* data, int64_t bytes, std::shared_ptr<void> foreign_owner);  // borrowed memory
  ~Storage();
  Storage(const Storage&) = delete;

  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  bool is_foreign() const { return bool(foreign_owner_); }
  int64_t version() const { return version_.load(std::memory_order_relaxed); }
  void written() { version_.fetch_add(1, std::memory_order_relaxed); }

 private:
  void* data_;
  int64_t bytes_;
  std::shared_ptr<void> foreign_owner_;
  std::atomic<int64_t> version_{0};
};

int64_t live_storages();  // for leak tests

class Array {
 public:
  Array() = default;  // undefined: stands for an absent operand or gradient

  static Array empty(const Shape& shape, DType dtype);
  static Array zeros(const Shape& shape, DType dtype);
  static Array borrow(void* data, const Shape& shape, DType dtype, std::shared_ptr<void> owner);

  bool defined() const { return bool(storage_); }
  const Shape& shape() const { return shape_; }
  int ndim() const { return shape_.ndim(); }
  int64_t dim(int axis) const { return shape_[axis]; }
  int64_t size() const { return size_; }
  int64_t bytes() const { return size_ * item_bytes(dtype_); }
  DType dtype() const { return dtype_; }
  Device device() const { return Device::cpu; }

  template <class T>
  T* data() const {
    if (DTypeOf<T>::value != dtype_)
      throw TypeError(cat("expected an array of ", name(DTypeOf<T>::value), ", got ", name(dtype_)));
    return static_cast<T*>(raw());
  }
  void* raw() const { return storage_ ? storage_->data() : nullptr; }

  Array reshape(const Shape& shape) const;  // shares storage; ValueError if the sizes differ
  Array copy() const;

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

}  // namespace pyformer
