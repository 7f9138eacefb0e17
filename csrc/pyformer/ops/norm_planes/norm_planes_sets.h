// A set of planes at a time, from loops over planes: Loops are those of norm_planes_ref.cpp or norm_planes_cpu.cpp.
// Sums over planes are added in index order.
#pragma once
#include "pyformer/base/element.h"
#include "pyformer/ops/norm_planes/norm_planes_kernels.h"

namespace pyformer::PF_ISA::norm_planes {

// The planes of a set. Plane p's weight and bias stand at p * parameter_stride.
template <class T>
struct Planes {
  using A = Accumulator<T>;
  int64_t planes, size, stride, parameter_stride;
  typename Access<T>::In x;
  A mean, rstd;
  typename Access<T>::In weight, bias;  // null: ones, zeros

  // Of operands that are not there, `from` is null.
  Planes(const NormSets& n, int64_t set, const void* from, const void* weights, const void* biases)
      : planes(n.planes),
        size(n.size),
        stride(n.plane_stride),
        parameter_stride(n.parameter_each),
        x(in<T>(from) + set * n.set_stride),
        mean(0),
        rstd(0),
        weight(parameters(n, set, weights)),
        bias(parameters(n, set, biases)) {}

  A weight_of(int64_t p) const { return weight ? A(weight[p * parameter_stride]) : A(1); }
  A bias_of(int64_t p) const { return bias ? A(bias[p * parameter_stride]) : A(0); }

 private:
  static typename Access<T>::In parameters(const NormSets& n, int64_t set, const void* values) {
    return values ? in<T>(values) + set % n.parameter_sets * n.parameter_step : in<T>(nullptr);
  }
};

template <class A>
static A chain(const A* values, int64_t count) {
  A sum = A(0);
  for (int64_t i = 0; i < count; ++i) sum = sum + values[i];
  return sum;
}

template <class Loops, class T>
static void statistics(const NormStatisticsForward& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  for (int64_t s = begin; s < end; ++s) {
    Planes<T> planes(a.n, s, a.x, nullptr, nullptr);
    A* sum = static_cast<A*>(a.sums) + s * a.n.planes;
    Loops::sums(planes, sum);
    planes.mean = chain(sum, a.n.planes) / A(a.n.count());
    Loops::squares(planes, sum);
    const A var = chain(sum, a.n.planes) / A(a.n.count());
    static_cast<A*>(a.mean)[s] = planes.mean;
    static_cast<A*>(a.var)[s] = var;
    static_cast<A*>(a.rstd)[s] = A(1) / sqrt(var + A(a.eps));
  }
}

template <class Loops, class T>
static void apply(const NormApply& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  for (int64_t s = begin; s < end; ++s) {
    Planes<T> planes(a.n, s, a.x, a.weight, a.bias);
    planes.mean = static_cast<const A*>(a.mean)[s];
    planes.rstd = static_cast<const A*>(a.rstd)[s];
    Loops::apply(planes, to<T>(a.out) + s * a.n.set_stride);
  }
}

// The mean over a set of g = dout * weight, or of g * xhat, from the sums over its planes.
template <class T>
static Accumulator<T> weighted_mean(const Planes<T>& planes, const Accumulator<T>* sums) {
  using A = Accumulator<T>;
  A total = A(0);
  for (int64_t p = 0; p < planes.planes; ++p) total = total + (planes.weight ? planes.weight_of(p) * sums[p] : sums[p]);
  return total / A(planes.planes * planes.size);
}

template <class Loops, class T>
static void backward(const NormBackward& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  for (int64_t s = begin; s < end; ++s) {
    Planes<T> planes(a.n, s, a.x, a.weight, nullptr);
    planes.mean = static_cast<const A*>(a.mean)[s];
    planes.rstd = static_cast<const A*>(a.rstd)[s];
    const auto dout = in<T>(a.dout) + s * a.n.set_stride;
    A* sum = static_cast<A*>(a.sum) + s * a.n.planes;
    A* product = static_cast<A*>(a.sum_product) + s * a.n.planes;
    Loops::products(planes, dout, sum, product);
    if (!a.dx) continue;
    const auto dx = to<T>(a.dx) + s * a.n.set_stride;
    if (a.constant)
      Loops::constant_gradient(planes, dout, dx);
    else
      Loops::gradient(planes, dout, weighted_mean(planes, sum), weighted_mean(planes, product), dx);
  }
}

}  // namespace pyformer::PF_ISA::norm_planes
