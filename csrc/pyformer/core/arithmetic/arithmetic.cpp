#include "pyformer/core/arithmetic/arithmetic.h"

#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "pyformer/base/run.h"
#include "pyformer/core/arithmetic/arithmetic_kernels.h"
#include "pyformer/core/arithmetic/checks.h"
#include "pyformer/core/arithmetic/sixteen_bits.h"
#include "pyformer/core/graph_recording.h"

namespace pyformer {

void fill_(const Array& array, uint64_t bits) {
  run("fill", &ArithmeticTable::fill, array, Fill{array.size(), bits, array.raw()});
}

template <class T>
static uint64_t bits_in(T value) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}

template <class T>
static uint64_t bits_of_number(T value, DType dtype) {
  uint64_t bits = 0;
  in_default_float_mode([&] {
    if (dtype == DType::float64) bits = bits_in(double(value));
    if (dtype == DType::float32) bits = bits_in(float(value));
    if (dtype == DType::bfloat16) bits = bits_in(to_bfloat16(before_rounding(value)));
    if (dtype == DType::float16) bits = bits_in(to_float16(before_rounding(value)));
    if (dtype == DType::boolean) bits = value != 0;
  });
  return bits;
}

uint64_t bits_of(double value, DType dtype) {
  return is_integer(dtype) ? bits_of(int64_t(value), dtype) : bits_of_number(value, dtype);
}

uint64_t bits_of(int64_t value, DType dtype) {
  return is_integer(dtype) ? uint64_t(value) : bits_of_number(value, dtype);
}

Array ones_like(const Array& array) {
  const Array out = array.like(array.shape());
  fill_(out, bits_of(1.0, array.dtype()));
  return out;
}

Array added(const Array& a, const Array& b) {
  if (!(a.shape() == b.shape()) || a.dtype() != b.dtype())
    throw std::logic_error(
        cat("gradient of ", name(b.dtype()), " ", b.shape().str(), " for ", name(a.dtype()), " ", a.shape().str()));
  const Array out = a.owns_alone() ? a : b.owns_alone() ? b : a.like(a.shape());
  run("add", &ArithmeticTable::add, out, AddGradients{a.size(), a.raw(), b.raw(), out.raw()});
  out.storage().written();
  return out;
}

Array cast(const Array& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  Array out = x.like(x.shape(), dtype);
  run("cast", &ArithmeticTable::cast, x, Cast{x.size(), x.raw(), dtype, out.raw()});
  return out;
}

Array sum_partials(const Array& partials) {
  Array out = partials.like(Shape(partials.shape().begin() + 1, partials.ndim() - 1));
  run("sum", &ArithmeticTable::sum_partials, partials,
      SumPartials{partials.dim(0), out.size(), partials.raw(), out.raw()});
  return out;
}

Region region_of(const Array& array, int64_t offset) {
  Region r{static_cast<char*>(array.raw()) + offset * item_bytes(array.dtype()), {}};
  int64_t stride = 1;
  for (int i = array.ndim() - 1; i >= 0; --i) {
    r.strides[i] = stride;
    stride *= array.dim(i);
  }
  return r;
}

// Neighbouring axes that are contiguous in both regions merged, and axes of extent 1 dropped.
static StridedCopy simplified(const Shape& shape, const Region& to, const Region& from) {
  StridedCopy p = {};
  p.to = to.start;
  p.from = from.start;
  for (int i = 0; i < shape.ndim(); ++i) {
    if (shape[i] == 1) continue;
    const int last = p.ndim - 1;
    if (last >= 0 && p.to_strides[last] == to.strides[i] * shape[i] &&
        p.from_strides[last] == from.strides[i] * shape[i]) {
      p.extents[last] *= shape[i];
      p.to_strides[last] = to.strides[i];
      p.from_strides[last] = from.strides[i];
    } else {
      p.extents[p.ndim] = shape[i];
      p.to_strides[p.ndim] = to.strides[i];
      p.from_strides[p.ndim++] = from.strides[i];
    }
  }
  if (p.ndim == 0) {
    p.ndim = 1;
    p.extents[0] = p.to_strides[0] = p.from_strides[0] = 1;
  }
  return p;
}

// Moves the axis along which `from` steps by one next to the last, unless it is the last; whether there is such.
static bool arrange_for_tiles(StridedCopy& p) {
  const int last = p.ndim - 1;
  if (p.to_strides[last] != 1 || p.from_strides[last] == 1) return false;
  for (int i = 0; i < last; ++i)
    if (p.from_strides[i] == 1) {
      std::swap(p.extents[i], p.extents[last - 1]);
      std::swap(p.to_strides[i], p.to_strides[last - 1]);
      std::swap(p.from_strides[i], p.from_strides[last - 1]);
      return true;
    }
  return false;
}

void strided_copy(const Shape& extents, DType dtype, Device device, const Region& to, const Region& from) {
  if (extents.size() == 0) return;
  StridedCopy args = simplified(extents, to, from);
  args.tiled = arrange_for_tiles(args);
  run("copy", args.tiled ? &ArithmeticTable::copy_tiles : &ArithmeticTable::copy_rows, device, dtype, args);
}

Array bytes_on(Device device, const void* bytes, int64_t count) {
  static const auto caller = std::make_shared<char>();  // an owner, as without one the array would free the bytes
  return Array::borrow(const_cast<void*>(bytes), {count}, DType::uint8, kCpu, caller).to(device);
}

Array int64_copy(const char* op, const char* what, const Array& ids) {
  if (ids.dtype() == DType::int64) return ids.copy();
  if (ids.dtype() != DType::int32)
    throw TypeError(cat(op, ": ", what, " must be int64 or int32, got ", name(ids.dtype())));
  return cast(ids, DType::int64);
}

// "[3]", "[1, 2]": where element `flat` of an array of this shape stands.
static std::string position(const Shape& shape, int64_t flat) {
  std::string s;
  for (int i = shape.ndim() - 1; i >= 0; --i) {
    s = std::to_string(flat % shape[i]) + (s.empty() ? "" : ", ") + s;
    flat /= shape[i];
  }
  return "[" + s + "]";
}

void PendingCheck::raise() const {
  const Array here = offender.to(kCpu);
  const auto* found = static_cast<const int64_t*>(here.raw());
  if (found[0] >= 0) throw_for(found[0], found[1]);
}
static std::mutex pending_mutex;
// Never destroyed: when the process ends, the device's library may be gone before.
static std::vector<PendingCheck>& pending = *new std::vector<PendingCheck>;

void raise_later(const Array& offender, ThrowFor throw_for) {
  PendingCheck check = {offender, std::move(throw_for)};
  if (offender.device().is_cpu()) {
    if (Recording* const r = recording()) r->note([check] { check.raise(); });
    return check.raise();
  }
  if (GraphRecording* const r = GraphRecording::of(offender.device())) return r->add_check(std::move(check));
  const std::lock_guard lock(pending_mutex);
  pending.push_back(std::move(check));
}

// Once, however often a graph was replayed since the last wait.
void add_pending(const std::vector<PendingCheck>& checks) {
  const std::lock_guard lock(pending_mutex);
  for (const PendingCheck& other : pending)
    if (!checks.empty() && &other.offender.storage() == &checks[0].offender.storage()) return;
  pending.insert(pending.end(), checks.begin(), checks.end());
}

static Array check(const char* op, const char* what, const Array& ids, int64_t limit, std::optional<int64_t> ignored,
                   const Array& counted, ThrowFor throw_for) {
  const Array wide = int64_copy(op, what, ids), offender = wide.like({2});
  run(op, &ArithmeticTable::check_ids, wide,
      CheckIds{wide.size(), limit, ignored.has_value(), ignored.value_or(0), static_cast<int64_t*>(wide.raw()),
               static_cast<int64_t*>(offender.raw()), static_cast<int64_t*>(counted.raw())});
  raise_later(offender, std::move(throw_for));
  if (limit < 1 && wide.size() > 0) raise_pending(wide.device());  // then 0 is outside too
  return wide;
}

Array checked_numbers(const char* op, const char* what, const Array& numbers, int64_t limit, ThrowFor throw_for) {
  return check(op, what, numbers, limit, std::nullopt, {}, std::move(throw_for));
}

Array checked_ids(const char* op, const char* what, const Array& ids, int64_t limit) {
  return checked_numbers(op, what, ids, limit, [=](int64_t at, int64_t id) {
    throw IndexError(cat(op, ": ", what, " must be within [0, ", limit, "), got ", id, " at position ", at));
  });
}

CheckedIds checked_targets(const char* op, const Array& targets, int64_t classes, int64_t ignored) {
  const Array counted = targets.like({}, DType::int64);
  const auto throw_for = [=, shape = targets.shape()](int64_t at, int64_t id) {
    throw IndexError(cat(op, ": targets", position(shape, at), " is ", id, ", expected 0 <= target < ", classes,
                         " or ignore_index = ", ignored));
  };
  return {check(op, "targets", targets, classes, ignored, counted, throw_for), counted};
}

void raise_pending(Device device) {
  wait_for(device);
  std::vector<PendingCheck> due;
  {
    const std::lock_guard lock(pending_mutex);
    std::erase_if(pending, [&](PendingCheck& check) {
      const bool is_due = check.offender.device() == device;
      if (is_due) due.push_back(std::move(check));
      return is_due;
    });
  }
  for (const PendingCheck& check : due) check.raise();
}

}  // namespace pyformer
