#include "pyformer/core/array.h"

#include <cstring>

#include "pyformer/base/allocator.h"
#include "pyformer/base/thread_pool.h"

namespace pyformer {

const char* name(Device device) { return device == Device::cpu ? "cpu" : "cuda"; }

Device device_from_name(const std::string& wanted) {
  if (wanted == "cpu") return Device::cpu;
  if (wanted == "cuda" || wanted.rfind("cuda:", 0) == 0)
    throw ValueError(cat("device: '", wanted, "' is not available: this build of pyformer has no CUDA core"));
  throw ValueError(cat("device: expected 'cpu' or 'cuda', got '", wanted, "'"));
}

static std::atomic<int64_t> live{0};
int64_t live_storages() { return live; }

Storage::Storage(int64_t bytes) : data_(allocate(bytes)), bytes_(bytes) { ++live; }
Storage::Storage(void* data, int64_t bytes, std::shared_ptr<void> foreign_owner)
    : data_(data), bytes_(bytes), foreign_owner_(std::move(foreign_owner)) {
  ++live;
}
Storage::~Storage() {
  if (!foreign_owner_) deallocate(data_, bytes_);
  --live;
}

// body(first byte, count) for pieces of a block: large ones on several threads, with Ctrl-C noticed in between.
template <class Body>
static void for_each_piece(int64_t bytes, const Body& body) {
  constexpr int64_t kPieceBytes = int64_t(1) << 26;  // one thread fills as fast as several
  if (bytes <= kPieceBytes) return body(0, size_t(bytes));
  parallel_for(bytes, kPieceBytes, [&](int64_t begin, int64_t end) { body(begin, size_t(end - begin)); });
}

Array Array::empty(const Shape& shape, DType dtype) {
  const int64_t bytes = checked_multiply(shape.size(), item_bytes(dtype));
  return Array(std::make_shared<Storage>(bytes), shape, dtype);
}

Array Array::zeros(const Shape& shape, DType dtype) {
  Array a = empty(shape, dtype);
  char* to = static_cast<char*>(a.raw());
  for_each_piece(a.bytes(), [to](int64_t first, size_t count) { std::memset(to + first, 0, count); });
  return a;
}

Array Array::borrow(void* data, const Shape& shape, DType dtype, std::shared_ptr<void> owner) {
  const int64_t bytes = checked_multiply(shape.size(), item_bytes(dtype));
  return Array(std::make_shared<Storage>(data, bytes, std::move(owner)), shape, dtype);
}

Array Array::reshape(const Shape& shape) const {
  if (shape.size() != size_)
    throw ValueError(cat("reshape: cannot make ", shape.str(), " of ", shape_.str(), ": ", shape.size(),
                         " elements against ", size_));
  return Array(storage_, shape, dtype_);
}

Array Array::copy() const {
  Array out = empty(shape_, dtype_);
  char* to = static_cast<char*>(out.raw());
  const char* from = static_cast<const char*>(raw());
  for_each_piece(bytes(), [=](int64_t first, size_t count) { std::memcpy(to + first, from + first, count); });
  return out;
}

}  // namespace pyformer
