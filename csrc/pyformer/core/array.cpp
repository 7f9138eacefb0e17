#include "pyformer/core/array.h"

#include <algorithm>

namespace pyformer {

static std::atomic<int64_t> live{0};
int64_t live_storages() { return live; }

static void* stream_here(Device device) { return device_api(device).streams.current(device.index); }

Storage::Storage(int64_t bytes, Device device)
    : data_(allocate_on(device, bytes)), bytes_(bytes), device_(device), stream_(stream_here(device)) {
  ++live;
}
Storage::Storage(void* data, int64_t bytes, Device device, std::shared_ptr<void> foreign_owner)
    : data_(data),
      bytes_(bytes),
      device_(device),
      stream_(stream_here(device)),
      foreign_owner_(std::move(foreign_owner)) {
  ++live;
}
// Of foreign memory nobody knows the owner's stream; as a rule it is the device's own.
Storage::~Storage() {
  const auto order = device_api(device_).streams.order;
  void* const last = stream_;
  for (void* user : users_)
    if (user != last) (void)order(user, last, device_.index);
  if (!foreign_owner_) release_on(device_, data_, bytes_, last);
  if (foreign_owner_ && !device_.is_cpu()) (void)order(last, nullptr, device_.index);
  --live;
}

// The caller holds the lock.
void Storage::add_user(void* stream) const {
  if (std::find(users_.begin(), users_.end(), stream) == users_.end()) users_.push_back(stream);
  is_shared_ = true;
}

void Storage::note_user(void* stream) const {
  const std::lock_guard lock(users_mutex_);
  add_user(stream);
}

void Storage::hand_to(void* stream) const {
  const std::lock_guard lock(users_mutex_);
  order_behind_users(stream);
}

void Storage::take_from(void* stream) const {
  const std::lock_guard lock(users_mutex_);
  if (void* const last = stream_; stream != last) (void)device_api(device_).streams.order(stream, last, device_.index);
}

// The caller holds the lock.
void Storage::order_behind_users(void* stream) const {
  const auto order = [&](void* user) {
    if (user != stream) throw_if(device_api(device_).streams.order(user, stream, device_.index), device_);
  };
  void* const last = stream_;
  order(last);
  for (void* user : users_)
    if (user != last) order(user);
}

static thread_local std::vector<std::weak_ptr<const Storage>>* noted_uses = nullptr;
void note_uses(std::vector<std::weak_ptr<const Storage>>* uses) { noted_uses = uses; }

void Storage::follow() const {
  if (noted_uses) noted_uses->push_back(weak_from_this());
  void* const here = stream_here(device_);
  if (stream_.load(std::memory_order_relaxed) == here && !is_shared_.load(std::memory_order_relaxed)) return;
  const std::lock_guard lock(users_mutex_);
  order_behind_users(here);
  if (void* const last = stream_.exchange(here); last != here) add_user(last);
}

// While a thread records, its arrays lie in memory of the recording, which is used again where nobody else holds it.
static std::shared_ptr<Storage> new_storage(int64_t bytes, Device device) {
  Recording* const r = recording();
  if (!r) return std::make_shared<Storage>(bytes, device);
  const auto serves = [&](const std::shared_ptr<void>& block) {
    const auto& storage = *static_cast<const Storage*>(block.get());
    return block.use_count() == 1 && storage.bytes() == bytes && storage.device() == device;
  };
  auto found = std::find_if(r->blocks().begin(), r->blocks().end(), serves);
  if (found == r->blocks().end()) found = r->blocks().insert(found, std::make_shared<Storage>(bytes, device));
  return std::static_pointer_cast<Storage>(*found);
}

Array Array::empty(const Shape& shape, DType dtype, Device device) {
  const int64_t bytes = checked_multiply(shape.size(), item_bytes(dtype));
  return Array(new_storage(bytes, device), shape, dtype);
}

Array Array::lasting(const Shape& shape, DType dtype, Device device) {
  if (!device.is_cpu() || recording()) return empty(shape, dtype, device);
  std::shared_ptr<void> memory = lasting_memory(checked_multiply(shape.size(), item_bytes(dtype)));
  void* const data = memory.get();
  return borrow(data, shape, dtype, device, std::move(memory));
}

Array Array::zeros(const Shape& shape, DType dtype, Device device) {
  Array a = empty(shape, dtype, device);
  fill_on(device, a.raw(), 0, a.bytes());
  return a;
}

Array Array::borrow(void* data, const Shape& shape, DType dtype, Device device, std::shared_ptr<void> owner) {
  refuse_to_record("an array lies in memory of another library");
  const int64_t bytes = checked_multiply(shape.size(), item_bytes(dtype));
  return Array(std::make_shared<Storage>(data, bytes, device, std::move(owner)), shape, dtype);
}

Array Array::reshape(const Shape& shape) const {
  if (shape.size() != size_)
    throw ValueError(cat("reshape: cannot make ", shape.str(), " of ", shape_.str(), ": ", shape.size(),
                         " elements against ", size_));
  return Array(storage_, shape, dtype_);
}

Array Array::copy() const {
  Array out = like(shape_);
  copy_between(device(), out.raw(), device(), raw(), bytes());
  return out;
}

Array Array::to(Device wanted) const {
  if (!defined() || wanted == device()) return *this;
  if (!wanted.is_cpu() && !device().is_cpu()) return to(kCpu).to(wanted);
  Array out = empty(shape_, dtype_, wanted);
  copy_between(wanted, out.raw(), device(), raw(), bytes());
  return out;
}

void check_device(const char* op, const char* which, const Array& operand, const char* x_name, const Array& x) {
  if (operand.defined() && x.defined() && operand.device() != x.device())
    throw TypeError(cat(op, ": ", which, " is on ", name(operand.device()), ", ", x_name, " on ", name(x.device())));
}

void check_alike(const char* op, const char* which, const Array& operand, const char* x_name, const Array& x) {
  check_device(op, which, operand, x_name, x);
  if (operand.defined() && operand.dtype() != x.dtype())
    throw TypeError(
        cat(op, ": ", which, " must be ", name(x.dtype()), " as ", x_name, " is, got ", name(operand.dtype())));
}

}  // namespace pyformer
