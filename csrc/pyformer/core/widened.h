// 16-bit floats copied to float32 for programs on the CPU; the copy lives as long as its scope. Arrays of other types
// are used in place.
#pragma once
#include <optional>

#include "pyformer/base/run.h"
#include "pyformer/base/workspace.h"
#include "pyformer/core/arithmetic/arithmetic_kernels.h"

namespace pyformer {

inline void convert_on_host(const void* from, DType dtype, void* to, DType wanted, int64_t count) {
  run("cast", &ArithmeticTable::cast, kCpu, dtype, Cast{count, from, wanted, to});
}

class Widened {
 public:
  // data may be null, and stays so.
  Widened(const void* data, int64_t count, DType dtype) : data_(data) {
    const DType wide = accumulator(dtype);
    if (!data || wide == dtype) return;
    memory_.emplace(checked_multiply(count, item_bytes(wide)));
    convert_on_host(data, dtype, memory_->data(), wide, count);
    data_ = memory_->data();
  }
  const void* data() const { return data_; }

 private:
  const void* data_;
  std::optional<Workspace> memory_;
};

// Memory for float32 results; round() writes them, rounded, to their 16-bit array.
class RoundedOnce {
 public:
  RoundedOnce(void* data, int64_t count, DType dtype) : data_(data), count_(count), dtype_(dtype) {
    const DType wide = accumulator(dtype);
    if (wide != dtype) memory_.emplace(checked_multiply(count, item_bytes(wide)));
  }
  void* data() const { return memory_ ? memory_->data() : data_; }
  void round() const {
    if (memory_) convert_on_host(memory_->data(), accumulator(dtype_), data_, dtype_, count_);
  }

 private:
  void* data_;
  int64_t count_;
  DType dtype_;
  std::optional<Workspace> memory_;
};

}  // namespace pyformer
