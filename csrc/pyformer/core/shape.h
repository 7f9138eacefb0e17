// The extents of an array.
#pragma once
#include <algorithm>
#include <initializer_list>
#include <string>

#include "pyformer/base/error.h"

namespace pyformer {

class Shape {
 public:
  static constexpr int kMaxDims = 8;

  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : Shape(dims.begin(), int(dims.size())) {}
  Shape(const int64_t* dims, int ndim) : ndim_(ndim) {
    if (ndim > kMaxDims) too_many(ndim);
    for (int i = 0; i < ndim; ++i) {
      if (dims[i] < 0) negative(dims[i]);
      dims_[i] = dims[i];
    }
  }

  int ndim() const { return ndim_; }
  int64_t operator[](int i) const { return dims_[i]; }
  int64_t& operator[](int i) { return dims_[i]; }
  int64_t back() const { return dims_[ndim_ - 1]; }
  const int64_t* begin() const { return dims_; }
  const int64_t* end() const { return dims_ + ndim_; }
  void push_back(int64_t dim) {
    if (ndim_ == kMaxDims) too_many(ndim_ + 1);
    dims_[ndim_++] = dim;
  }

  // Number of elements.
  int64_t size() const {
    int64_t n = 1;
    for (int64_t d : *this)
      if (d == 0) return 0;
    for (int64_t d : *this) n = checked_multiply(n, d);
    return n;
  }
  // Product of the extents before axis, and after it.
  int64_t outer(int axis) const { return Shape(dims_, axis).size(); }
  int64_t inner(int axis) const { return Shape(dims_ + axis + 1, ndim_ - axis - 1).size(); }

  bool operator==(const Shape& other) const { return std::equal(begin(), end(), other.begin(), other.end()); }

  // "(2, 3)", "(3,)", "()"
  std::string str() const;

 private:
  [[noreturn]] static void too_many(int ndim);
  [[noreturn]] static void negative(int64_t dim);

  int64_t dims_[kMaxDims] = {};
  int ndim_ = 0;
};

// 0 <= axis < ndim from an axis that may count from the end; IndexError otherwise.
int normalize_axis(const char* op, int64_t axis, int ndim);

}  // namespace pyformer
