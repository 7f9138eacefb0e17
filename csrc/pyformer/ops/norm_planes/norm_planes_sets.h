// A set of planes at a time, from loops over planes: Loops are those of norm_planes_ref.cpp or norm_planes_cpu.cpp.
// Sums over planes meet in a binary tree (BlockTree).
#pragma once
#include "pyformer/base/element.h"
#include "pyformer/base/norm.h"
#include "pyformer/ops/norm_planes/norm_planes_kernels.h"

namespace pyformer::PF_ISA::norm_planes {

// The planes of a set. Plane p's weight and bias stand at p * parameter_stride.
template <class T>
struct Planes {
  using A = Accumulator<T>;
  int64_t planes, size, stride, parameter_stride;
  typename Access<T>::In x;
  NormRow<A> row;
  typename Access<T>::In weight, bias;  // null: ones, zeros

  // Of operands that are not there, `from` is null.
  Planes(const NormSets& n, int64_t set, const void* from, const void* weights, const void* biases)
      : planes(n.planes),
        size(n.size),
        stride(n.plane_stride),
        parameter_stride(n.parameter_each),
        x(in<T>(from) + set * n.set_stride),
        row{},
        weight(parameters(n, set, weights)),
        bias(parameters(n, set, biases)) {}

  A weight_of(int64_t p) const { return weight ? A(weight[p * parameter_stride]) : A(1); }
  A bias_of(int64_t p) const { return bias ? A(bias[p * parameter_stride]) : A(0); }

 private:
  static typename Access<T>::In parameters(const NormSets& n, int64_t set, const void* values) {
    return values ? in<T>(values) + set % n.parameter_sets * n.parameter_step : in<T>(nullptr);
  }
};

// The formulas are those of norm_ref.cpp.
template <class Loops, class T>
static RowStatistics<Accumulator<T>> statistics_of(const Planes<T>& planes, double eps) {
  using A = Accumulator<T>;
  const A count = A(planes.planes * planes.size), first = count > A(0) ? A(planes.x[0]) : A(0);
  const auto take = [&](A scale) {
    const A origin = first * scale, mean = origin + Loops::sum(planes, scale, origin) / count;
    A sums[2];  // of d = x * scale - mean and of d^2
    Loops::sums_of_centred(planes, scale, mean, sums);
    return row_statistics(scale, mean, sums[0] / count, sums[1] / count, eps);
  };
  return in_fitting_units<A>(eps, take, [&] { return Loops::largest(planes, first); });
}

template <class Loops, class T>
static void statistics(const NormStatisticsForward& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  for (int64_t s = begin; s < end; ++s) {
    const RowStatistics<A> found = statistics_of<Loops>(Planes<T>(a.n, s, a.x, nullptr, nullptr), a.eps);
    static_cast<NormRow<A>*>(a.statistics)[s] = found.row;
    static_cast<A*>(a.mean)[s] = found.row.mean / found.row.scale;
    static_cast<A*>(a.var)[s] = found.var / found.row.scale / found.row.scale;
  }
}

template <class Loops, class T>
static void apply(const NormApply& a, int64_t begin, int64_t end) {
  for (int64_t s = begin; s < end; ++s) {
    Planes<T> planes(a.n, s, a.x, a.weight, a.bias);
    planes.row = static_cast<const NormRow<Accumulator<T>>*>(a.statistics)[s];
    Loops::apply(planes, to<T>(a.out) + s * a.n.set_stride);
  }
}

// The mean over a set of g = dout * weight, or of g * xhat, from the sums over its planes.
template <class T>
static Accumulator<T> weighted_mean(const Planes<T>& planes, const Accumulator<T>* sums) {
  using A = Accumulator<T>;
  BlockTree<A> tree;
  for (int64_t p = 0; p < planes.planes; ++p) tree.add(planes.weight ? planes.weight_of(p) * sums[p] : sums[p]);
  return tree.total() / A(planes.planes * planes.size);
}

template <class Loops, class T>
static void backward(const NormBackward& a, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  for (int64_t s = begin; s < end; ++s) {
    Planes<T> planes(a.n, s, a.x, a.weight, nullptr);
    planes.row = static_cast<const NormRow<A>*>(a.statistics)[s];
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
