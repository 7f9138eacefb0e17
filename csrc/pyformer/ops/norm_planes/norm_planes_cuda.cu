// group_norm and batch_norm: the formulas of norm_planes_ref.cpp. Statistics have a thread block for each set of
// planes, sums for the gradient a team of threads for each plane, all else a thread for each element.
#include "pyformer/base/norm.h"
#include "pyformer/cuda/rows.h"
#include "pyformer/ops/norm_planes/norm_planes_kernels.h"

namespace pyformer::cuda {

// Where plane p of a set starts, and the place of its parameters.
DEVICE int64_t plane_of(const NormSets& n, int64_t set, int64_t p) { return set * n.set_stride + p * n.plane_stride; }
DEVICE int64_t parameter_of(const NormSets& n, int64_t set, int64_t p) {
  return set % n.parameter_sets * n.parameter_step + (n.parameter_each ? p : 0);
}
template <class T>
DEVICE Accumulator<T> parameter_or(const void* values, int64_t at, Accumulator<T> absent) {
  return values ? Accumulator<T>(in<T>(values)[at]) : absent;
}

// ---- statistics -----------------------------------------------------------------------------------------------------

template <class A>
struct SetShared {
  typename BlockTeam<A>::Shared team;
  A levels[kTreeLevels], total;
};

// The tree of the planes' sums, in which a thread adds accumulate(plane, i, lane) to its lane.
template <class A, class Accumulate>
DEVICE A sum_of_planes(SetShared<A>& s, const NormSets& n, const Accumulate& accumulate) {
  BlockTeam<A> team(&s.team);
  if (n.size <= kReduceBlock)
    return team.sum_of_blocks(n.planes, [&](int64_t p) {
      return block_sum<A>(0, n.size, [&](int64_t i, A lane) { return accumulate(p, i, lane); });
    });
  SumTreeOf<A> tree = {s.levels, 1};
  for (int64_t p = 0; p < n.planes; ++p) {
    const A sum = team.reduce(n.size, [&](int64_t i, A lane) { return accumulate(p, i, lane); });
    if (team.is_first()) tree.add(sum);
  }
  if (team.is_first()) s.total = tree.total();
  __syncthreads();
  const A total = s.total;
  __syncthreads();
  return total;
}

template <class T>
__global__ void __launch_bounds__(BlockTeam<float>::kThreads, 2) norm_statistics(const NormStatisticsForward a) {
  using A = Accumulator<T>;
  auto& s = shared_memory<SetShared<A>>();
  const NormSets n = a.n;
  const auto from = in<T>(a.x) + blockIdx.x * n.set_stride;
  const auto x = [&](int64_t p, int64_t i) { return A(from[p * n.plane_stride + i]); };
  const A count = A(n.count()), first = count > A(0) ? x(0, 0) : A(0);
  const auto take = [&](A scale) {
    const A origin = first * scale;
    const A mean = origin + sum_of_planes(s, n, [&](int64_t p, int64_t i, A lane) {
                              return lane + fma(x(p, i), scale, -origin);
                            }) / count;
    const auto centred = [&](int64_t p, int64_t i) { return fma(x(p, i), scale, -mean); };
    const A rest = sum_of_planes(s, n, [&](int64_t p, int64_t i, A lane) { return lane + centred(p, i); }) / count;
    const A square = sum_of_planes(s, n, [&](int64_t p, int64_t i, A lane) {
      const A d = centred(p, i);
      return fma(d, d, lane);
    });
    return row_statistics(scale, mean, rest, square / count, a.eps);
  };
  const auto largest = [&] {
    BlockTeam<A> team(&s.team);
    A m = 0;
    for (int64_t p = 0; p < n.planes; ++p)
      m = max(team.largest(n.size, [&](int64_t i) { return abs(x(p, i) - first); }), m);
    return m;
  };
  const RowStatistics<A> found = in_fitting_units<A>(a.eps, take, largest);
  if (threadIdx.x) return;
  static_cast<NormRow<A>*>(a.statistics)[blockIdx.x] = found.row;
  static_cast<A*>(a.mean)[blockIdx.x] = found.row.mean / found.row.scale;
  static_cast<A*>(a.var)[blockIdx.x] = found.var / found.row.scale / found.row.scale;
}
template <class T>
static void start_norm_statistics(const NormStatisticsForward& a, int64_t, int64_t sets) {
  start(norm_statistics<T>, sets, BlockTeam<float>::kThreads, sizeof(SetShared<Accumulator<T>>), a);
}

// Beside a large mean, x - mean may overflow: a quarter of it does not.
template <class T>
struct GivenChannel {
  using Args = NormGiven;
  static DEVICE void at(const Args& a, int64_t c) {
    using A = Accumulator<T>;
    const A mean = static_cast<const A*>(a.mean)[c];
    const A rstd = A(1) / sqrt(static_cast<const A*>(a.var)[c] + A(a.eps));
    const A scale = abs(mean) < A(1) / kLeastSquare<A> ? A(1) : A(0.25);
    static_cast<NormRow<A>*>(a.statistics)[c] = {scale, mean * scale, rstd / scale, A(-0.0)};
  }
};

template <class T>
struct RunningChannel {
  using Args = NormRunning;
  static DEVICE void at(const Args& a, int64_t c) {
    using A = Accumulator<T>;
    const A factor = a.count ? A(double(a.count) / (double(a.count) - 1)) : A(1);
    const auto value = to<T>(a.running);
    value[c] = A(1 - a.momentum) * value[c] + A(a.momentum) * (static_cast<const A*>(a.fresh)[c] * factor);
  }
};

// ---- elements -------------------------------------------------------------------------------------------------------

// Element i of all sets: its set and plane, and where it lies.
struct PlaneElement {
  int64_t set, plane, at;
};
DEVICE PlaneElement element_of(const NormSets& n, int64_t i) {
  const Divided in_plane = divided(i, n.size), in_set = divided(in_plane.quotient, n.planes);
  return {in_set.quotient, in_set.rest, plane_of(n, in_set.quotient, in_set.rest) + in_plane.rest};
}

template <class T>
struct ApplyElement {
  using Args = NormApply;
  static DEVICE void at(const Args& a, int64_t i) {
    using A = Accumulator<T>;
    const PlaneElement e = element_of(a.n, i);
    const Normalizer<A> xhat(static_cast<const NormRow<A>*>(a.statistics)[e.set]);
    const int64_t parameter = parameter_of(a.n, e.set, e.plane);
    to<T>(a.out)[e.at] = fma(xhat(in<T>(a.x)[e.at]), parameter_or<T>(a.weight, parameter, A(1)),
                             parameter_or<T>(a.bias, parameter, A(0)));
  }
};
template <class T>
static void start_norm_apply(const NormApply& a, int64_t, int64_t sets) {
  start_items<ApplyElement<T>>(a, sets * a.n.count());
}

// ---- backward -------------------------------------------------------------------------------------------------------

// The sums over a plane of dout and of dout * xhat.
template <class T>
struct ProductsOfPlane {
  using Args = NormBackward;
  template <class Team>
  static DEVICE void at(const Args& a, Team& team, int64_t item) {
    using A = Accumulator<T>;
    const int64_t set = item / a.n.planes, start = plane_of(a.n, set, item % a.n.planes);
    const Normalizer<A> xhat(static_cast<const NormRow<A>*>(a.statistics)[set]);
    const auto dout = in<T>(a.dout) + start, x = in<T>(a.x) + start;
    const A sum = row_sum(team, a.n.size, [&](int64_t i) { return A(dout[i]); });
    const A product =
        row_dot(team, a.n.size, [&](int64_t i) { return A(dout[i]); }, [&](int64_t i) { return xhat(x[i]); });
    if (!team.is_first()) return;
    static_cast<A*>(a.sum)[item] = sum;
    static_cast<A*>(a.sum_product)[item] = product;
  }
};

// The means over a set of g = dout * weight and of g * xhat.
template <class A>
struct SetMeans {
  A g, gx;
};
template <class A>
struct GradientArgs {
  NormBackward a;
  SetMeans<A>* means;
};

template <class T>
__global__ void __launch_bounds__(kTreeThreads) means_of_sets(const Counted<GradientArgs<Accumulator<T>>> counted) {
  using A = Accumulator<T>;
  const NormBackward& a = counted.args.a;
  const int64_t set = thread_index();
  if (set >= counted.count) return;
  const auto mean = [&](const void* sums) {
    SumTreeOf<A> tree = own_tree<A>();
    for (int64_t p = 0; p < a.n.planes; ++p) {
      const A sum = static_cast<const A*>(sums)[set * a.n.planes + p];
      tree.add(a.weight ? A(in<T>(a.weight)[parameter_of(a.n, set, p)]) * sum : sum);
    }
    return tree.total() / A(a.n.count());
  };
  const A g = mean(a.sum);
  counted.args.means[set] = {g, mean(a.sum_product)};
}

template <class T>
struct NormGradientElement {
  using Args = GradientArgs<Accumulator<T>>;
  static DEVICE void at(const Args& args, int64_t i) {
    using A = Accumulator<T>;
    const NormBackward& a = args.a;
    const PlaneElement e = element_of(a.n, i);
    const NormRow<A> row = static_cast<const NormRow<A>*>(a.statistics)[e.set];
    const A g = in<T>(a.dout)[e.at] * parameter_or<T>(a.weight, parameter_of(a.n, e.set, e.plane), A(1));
    const Normalizer<A> xhat(row);
    to<T>(a.dx)[e.at] = a.constant
                            ? (row.rstd * g) * row.scale
                            : xhat.gradient(g, args.means[e.set].g, xhat(in<T>(a.x)[e.at]), args.means[e.set].gx);
  }
};

template <class T>
static void start_norm_backward(const NormBackward& a, int64_t, int64_t sets) {
  start_rows<ProductsOfPlane<T>, Accumulator<T>>(a, sets * a.n.planes, a.n.size);
  if (!a.dx) return;
  using A = Accumulator<T>;
  const Scratch means(sets * int64_t(sizeof(SetMeans<A>)));
  const GradientArgs<A> args = {a, static_cast<SetMeans<A>*>(means.data())};
  if (!a.constant)
    start(means_of_sets<T>, ceil_div(sets, kTreeThreads), kTreeThreads, sizeof(TreeShared<A>),
          Counted<GradientArgs<A>>{args, sets});
  start_items<NormGradientElement<T>>(args, sets * a.n.count());
}

template <>
const NormPlanesTable& cuda_table<NormPlanesTable>() {
  static constexpr NormPlanesTable table = {
      .statistics = for_each_float<Kernel<NormStatisticsForward>>(
          []<class T>() -> Kernel<NormStatisticsForward> { return start_norm_statistics<T>; }),
      .apply = for_each_float<Kernel<NormApply>>([]<class T>() -> Kernel<NormApply> { return start_norm_apply<T>; }),
      .backward = for_each_float<Kernel<NormBackward>>(
          []<class T>() -> Kernel<NormBackward> { return start_norm_backward<T>; }),
      .given = {{each_item<GivenChannel<float>>, each_item<GivenChannel<double>>}},
      .running = for_each_float<Kernel<NormRunning>>(
          []<class T>() -> Kernel<NormRunning> { return each_item<RunningChannel<T>>; })};
  return table;
}

}  // namespace pyformer::cuda
