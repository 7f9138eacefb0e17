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
DEVICE float parameter_or(const void* values, int64_t at, float absent) {
  return values ? float(in<T>(values)[at]) : absent;
}

// ---- statistics -----------------------------------------------------------------------------------------------------

struct SetShared {
  BlockTeam::Shared team;
  float levels[SumTreeOf::kLevels], total;
};

// The tree of the planes' sums, in which a thread adds accumulate(plane, i, lane) to its lane.
template <class Accumulate>
DEVICE float sum_of_planes(SetShared& s, const NormSets& n, const Accumulate& accumulate) {
  BlockTeam team(&s.team);
  if (n.size <= kReduceBlock)
    return team.sum_of_blocks(n.planes, [&](int64_t p) {
      return block_sum(0, n.size, [&](int64_t i, float lane) { return accumulate(p, i, lane); });
    });
  SumTreeOf tree = {s.levels, 1};
  for (int64_t p = 0; p < n.planes; ++p) {
    const float sum = team.reduce(n.size, [&](int64_t i, float lane) { return accumulate(p, i, lane); });
    if (team.is_first()) tree.add(sum);
  }
  if (team.is_first()) s.total = tree.total();
  __syncthreads();
  const float total = s.total;
  __syncthreads();
  return total;
}

template <class T>
__global__ void __launch_bounds__(BlockTeam::kThreads) norm_statistics(const NormStatisticsForward a) {
  SetShared& s = shared_memory<SetShared>();
  const NormSets n = a.n;
  const auto from = in<T>(a.x) + blockIdx.x * n.set_stride;
  const auto x = [&](int64_t p, int64_t i) { return float(from[p * n.plane_stride + i]); };
  const float count = float(n.count()), first = count > 0.0f ? x(0, 0) : 0.0f;
  const auto take = [&](float scale) {
    const float origin = first * scale;
    const float mean = origin + sum_of_planes(s, n, [&](int64_t p, int64_t i, float lane) {
                                  return lane + fma(x(p, i), scale, -origin);
                                }) / count;
    const auto centred = [&](int64_t p, int64_t i) { return fma(x(p, i), scale, -mean); };
    const float rest =
        sum_of_planes(s, n, [&](int64_t p, int64_t i, float lane) { return lane + centred(p, i); }) / count;
    const float square = sum_of_planes(s, n, [&](int64_t p, int64_t i, float lane) {
      const float d = centred(p, i);
      return fma(d, d, lane);
    });
    return row_statistics(scale, mean, rest, square / count, a.eps);
  };
  const auto largest = [&] {
    BlockTeam team(&s.team);
    float m = 0;
    for (int64_t p = 0; p < n.planes; ++p)
      m = max(team.largest(n.size, [&](int64_t i) { return abs(x(p, i) - first); }), m);
    return m;
  };
  const RowStatistics<float> found = in_fitting_units<float>(a.eps, take, largest);
  if (threadIdx.x) return;
  static_cast<NormRow<float>*>(a.statistics)[blockIdx.x] = found.row;
  static_cast<float*>(a.mean)[blockIdx.x] = found.row.mean / found.row.scale;
  static_cast<float*>(a.var)[blockIdx.x] = found.var / found.row.scale / found.row.scale;
}
template <class T>
static void start_norm_statistics(const NormStatisticsForward& a, int64_t, int64_t sets) {
  start(norm_statistics<T>, sets, BlockTeam::kThreads, sizeof(SetShared), a);
}

// Beside a large mean, x - mean may overflow: a quarter of it does not.
struct GivenChannel {
  using Args = NormGiven;
  static DEVICE void at(const Args& a, int64_t c) {
    const float mean = static_cast<const float*>(a.mean)[c];
    const float rstd = 1.0f / sqrt(static_cast<const float*>(a.var)[c] + float(a.eps));
    const float scale = abs(mean) < 1.0f / kLeastSquare<float> ? 1.0f : 0.25f;
    static_cast<NormRow<float>*>(a.statistics)[c] = {scale, mean * scale, rstd / scale, -0.0f};
  }
};

template <class T>
struct RunningChannel {
  using Args = NormRunning;
  static DEVICE void at(const Args& a, int64_t c) {
    const float factor = a.count ? float(double(a.count) / (double(a.count) - 1)) : 1.0f;
    const auto value = to<T>(a.running);
    value[c] = float(1 - a.momentum) * value[c] + float(a.momentum) * (static_cast<const float*>(a.fresh)[c] * factor);
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
    const PlaneElement e = element_of(a.n, i);
    const Normalizer<float> xhat(static_cast<const NormRow<float>*>(a.statistics)[e.set]);
    const int64_t parameter = parameter_of(a.n, e.set, e.plane);
    to<T>(a.out)[e.at] = fma(xhat(in<T>(a.x)[e.at]), parameter_or<T>(a.weight, parameter, 1.0f),
                             parameter_or<T>(a.bias, parameter, 0.0f));
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
    const int64_t set = item / a.n.planes, start = plane_of(a.n, set, item % a.n.planes);
    const Normalizer<float> xhat(static_cast<const NormRow<float>*>(a.statistics)[set]);
    const auto dout = in<T>(a.dout) + start, x = in<T>(a.x) + start;
    const float sum = row_sum(team, a.n.size, [&](int64_t i) { return float(dout[i]); });
    const float product =
        row_dot(team, a.n.size, [&](int64_t i) { return float(dout[i]); }, [&](int64_t i) { return xhat(x[i]); });
    if (!team.is_first()) return;
    static_cast<float*>(a.sum)[item] = sum;
    static_cast<float*>(a.sum_product)[item] = product;
  }
};

// The means over a set of g = dout * weight and of g * xhat.
struct SetMeans {
  float g, gx;
};
struct GradientArgs {
  NormBackward a;
  SetMeans* means;
};

template <class T>
__global__ void __launch_bounds__(kTreeThreads) means_of_sets(const Counted<GradientArgs> counted) {
  const NormBackward& a = counted.args.a;
  const int64_t set = thread_index();
  if (set >= counted.count) return;
  const auto mean = [&](const void* sums) {
    SumTreeOf tree = own_tree();
    for (int64_t p = 0; p < a.n.planes; ++p) {
      const float sum = static_cast<const float*>(sums)[set * a.n.planes + p];
      tree.add(a.weight ? float(in<T>(a.weight)[parameter_of(a.n, set, p)]) * sum : sum);
    }
    return tree.total() / float(a.n.count());
  };
  const float g = mean(a.sum);
  counted.args.means[set] = {g, mean(a.sum_product)};
}

template <class T>
struct NormGradientElement {
  using Args = GradientArgs;
  static DEVICE void at(const Args& args, int64_t i) {
    const NormBackward& a = args.a;
    const PlaneElement e = element_of(a.n, i);
    const NormRow<float> row = static_cast<const NormRow<float>*>(a.statistics)[e.set];
    const float g = in<T>(a.dout)[e.at] * parameter_or<T>(a.weight, parameter_of(a.n, e.set, e.plane), 1.0f);
    const Normalizer<float> xhat(row);
    to<T>(a.dx)[e.at] = a.constant
                            ? (row.rstd * g) * row.scale
                            : xhat.gradient(g, args.means[e.set].g, xhat(in<T>(a.x)[e.at]), args.means[e.set].gx);
  }
};

template <class T>
static void start_norm_backward(const NormBackward& a, int64_t, int64_t sets) {
  start_rows<ProductsOfPlane<T>>(a, sets * a.n.planes, a.n.size);
  if (!a.dx) return;
  const Scratch means(sets * int64_t(sizeof(SetMeans)));
  const GradientArgs args = {a, static_cast<SetMeans*>(means.data())};
  if (!a.constant)
    start(means_of_sets<T>, ceil_div(sets, kTreeThreads), kTreeThreads, sizeof(TreeShared),
          Counted<GradientArgs>{args, sets});
  start_items<NormGradientElement<T>>(args, sets * a.n.count());
}

template <>
const NormPlanesTable& cuda_table<NormPlanesTable>() {
  static constexpr NormPlanesTable table = {
      .statistics = for_cuda_floats<Kernel<NormStatisticsForward>>(
          []<class T>() -> Kernel<NormStatisticsForward> { return start_norm_statistics<T>; }),
      .apply = for_cuda_floats<Kernel<NormApply>>([]<class T>() -> Kernel<NormApply> { return start_norm_apply<T>; }),
      .backward = for_cuda_floats<Kernel<NormBackward>>(
          []<class T>() -> Kernel<NormBackward> { return start_norm_backward<T>; }),
      .given = {{each_item<GivenChannel>}},
      .running = for_cuda_floats<Kernel<NormRunning>>(
          []<class T>() -> Kernel<NormRunning> { return each_item<RunningChannel<T>>; })};
  return table;
}

}  // namespace pyformer::cuda
