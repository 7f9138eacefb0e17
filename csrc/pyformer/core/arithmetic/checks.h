// Checks of numbers that stand in arrays, by kernels, and host bytes for kernels to read: what raises on a device
// without a wait. Ids are checked by checked_ids (arithmetic.h), and on a device those outside are 0 from then on.
#pragma once
#include <functional>
#include <vector>

#include "pyformer/core/arithmetic/arithmetic.h"

namespace pyformer {

// Throws what the caller wants for a number's position and value.
using ThrowFor = std::function<void(int64_t position, int64_t value)>;

// checked_ids with an error of the caller's.
Array checked_numbers(const char* op, const char* what, const Array& numbers, int64_t limit, ThrowFor throw_for);
// The same for classes, where `ignored` is let pass too, and how many are not ignored: (), int64.
struct CheckedIds {
  Array ids, counted;
};
CheckedIds checked_targets(const char* op, const Array& targets, int64_t classes, int64_t ignored);

// What a check of the caller's found, (position, value) int64, position -1: nothing. Throws now on the CPU, else when
// something waits for the device (raise_pending).
void raise_later(const Array& offender, ThrowFor throw_for);

// Such a check, and those of a recording, which are due after each replay.
struct PendingCheck {
  Array offender;
  ThrowFor throw_for;
  void raise() const;
};
void add_pending(const std::vector<PendingCheck>& checks);

// Bytes of this process's memory for kernels on a device to read: those themselves on the CPU, where they must outlive
// the array, else a copy.
Array bytes_on(Device device, const void* bytes, int64_t count);

}  // namespace pyformer
