// reduce: sums in the order that reduce.h promises, the first extreme of a row. Sums along the last axis have a team of
// 16 threads for each block of 4,096 elements; sums along others 16 threads for each column, one a lane.
#include "pyformer/cuda/rows.h"
#include "pyformer/ops/reduce/reduce_columns.h"

namespace pyformer::cuda {

// ---- sums -----------------------------------------------------------------------------------------------------------

// inner = 1: a row is one block of one outer index.
template <class T>
struct SumBlock {
  using Args = SumBlocks;
  template <class Team>
  static DEVICE void at(const Args& a, Team& team, int64_t item) {
    const int64_t start = item % a.blocks * kReduceBlock, left = a.n - start;
    using A = Accumulator<T>;
    const auto x = in<T>(a.x) + item / a.blocks * a.n + start;
    const A sum =
        block_sum<A>(0, left < kReduceBlock ? left : kReduceBlock, [&](int64_t i, A lane) { return lane + x[i]; });
    if (team.is_first()) static_cast<A*>(a.sums)[item] = sum / A(a.divisor);
  }
};

// 32 columns of one block: thread (c, l) sums lane l of column c.
constexpr int kColumns = 32;
template <class A>
struct SumColumnShared {
  A lanes[kTeam][kColumns];
};
template <class T>
__global__ void __launch_bounds__(kColumns* kTeam) sum_columns(const SumBlocks a) {
  using A = Accumulator<T>;
  auto& s = shared_memory<SumColumnShared<A>>();
  const int column = int(threadIdx.x) % kColumns, lane = int(threadIdx.x) / kColumns;
  const int64_t ranges = ceil_div(a.inner, kColumns);
  const int64_t c = blockIdx.x % ranges * kColumns + column, item = blockIdx.x / ranges;
  const int64_t start = item % a.blocks * kReduceBlock, left = a.n - start,
                stop = left < kReduceBlock ? left : kReduceBlock;
  const auto x = in<T>(a.x) + (item / a.blocks * a.n + start) * a.inner + c;
  A sum = 0;
  for (int64_t i = lane; c < a.inner && i < stop; i += kTeam) sum = sum + x[i * a.inner];
  s.lanes[lane][column] = sum;
  for (int half = kTeam / 2; half > 0; half /= 2) {
    __syncthreads();
    if (lane < half) s.lanes[lane][column] = s.lanes[lane][column] + s.lanes[lane + half][column];
  }
  if (lane == 0 && c < a.inner) static_cast<A*>(a.sums)[item * a.inner + c] = s.lanes[0][column] / A(a.divisor);
}

template <class T>
static void sum_blocks(const SumBlocks& a, int64_t, int64_t) {
  if (a.inner == 1) return start_short_rows<SumBlock<T>, Accumulator<T>>(a, a.outer * a.blocks);
  start(sum_columns<T>, a.outer * a.blocks * ceil_div(a.inner, kColumns), kColumns * kTeam,
        sizeof(SumColumnShared<Accumulator<T>>), a);
}

// A thread for each sum; its tree lies in shared memory.
template <class A>
static __global__ void __launch_bounds__(kTreeThreads) sum_tree(const Counted<SumTree> counted) {
  const SumTree& a = counted.args;
  const int64_t item = thread_index();
  if (item >= counted.count) return;
  const A* sums = static_cast<const A*>(a.sums) + item / a.inner * a.blocks * a.inner + item % a.inner;
  SumTreeOf<A> tree = own_tree<A>();
  for (int64_t i = 0; i < a.blocks; ++i) tree.add(sums[i * a.inner]);
  static_cast<A*>(a.out)[item] = tree.total() / A(a.divisor);
}
template <class A>
static void start_sum_tree(const SumTree& a, int64_t, int64_t count) {
  start(sum_tree<A>, ceil_div(count, kTreeThreads), kTreeThreads, sizeof(TreeShared<A>), Counted<SumTree>{a, count});
}

template <class T>
struct IntegerSum {
  using Args = SumIntegers;
  static DEVICE void at(const Args& a, int64_t item) {
    const T* x = static_cast<const T*>(a.x) + item / a.inner * a.n * a.inner + item % a.inner;
    uint64_t sum = 0;
    for (int64_t i = 0; i < a.n; ++i) sum += uint64_t(int64_t(x[i * a.inner]));
    a.out[item] = sum;
  }
};
template <class T>
static void sum_integers(const SumIntegers& a, int64_t, int64_t) {
  start_items<IntegerSum<T>>(a, a.outer * a.inner);
}

// ---- extremes -------------------------------------------------------------------------------------------------------

template <class A>
struct Best {
  A value;
  int64_t index;  // -1: none yet
};
template <class A>
DEVICE bool is_better(const Best<A>& x, const Best<A>& best, bool minimum) {
  if (x.index < 0 || best.index < 0) return best.index < 0;
  const bool wins_it = minimum ? wins<A, true>(x.value, best.value) : wins<A, false>(x.value, best.value);
  const bool loses_it = minimum ? wins<A, true>(best.value, x.value) : wins<A, false>(best.value, x.value);
  return wins_it || (!loses_it && x.index < best.index);
}

// The best of n elements, `step` apart, by a team: element i is lane i mod 16's.
template <class T, class X>
DEVICE Best<Accumulator<T>> best_of(int64_t n, int64_t step, bool minimum, const X& x) {
  using A = Accumulator<T>;
  Best<A> best = {A(0), -1};
  for (int64_t i = lane_of_team(); i < n; i += kTeam) {
    const Best<A> here = {A(x[i * step]), i};
    if (is_better(here, best, minimum)) best = here;
  }
  for (int half = kTeam / 2; half > 0; half /= 2) {
    const Best<A> other = {A(__shfl_xor_sync(mask_of_team(), best.value, half)),
                           int64_t(__shfl_xor_sync(mask_of_team(), (long long)best.index, half))};
    if (is_better(other, best, minimum)) best = other;
  }
  return best;
}

// A team for each result.
template <class Result>
__global__ void __launch_bounds__(LaneTeam<float>::kThreads) teams(const Counted<typename Result::Args> a) {
  const int64_t item = int64_t(blockIdx.x) * LaneTeam<float>::kRows + threadIdx.x / kTeam;
  if (item < a.count) Result::at(a.args, item);
}
template <class Result>
static void start_teams(const typename Result::Args& a, int64_t count) {
  start(teams<Result>, ceil_div(count, LaneTeam<float>::kRows), LaneTeam<float>::kThreads, 0,
        Counted<typename Result::Args>{a, count});
}

template <class T>
struct ExtremeOfRow {
  using Args = Extreme;
  static DEVICE void at(const Args& a, int64_t item) {
    const int64_t size = a.parts == 1 ? a.n : Args::kPart, first = item % a.parts * size;
    const auto x = in<T>(a.x) + item / a.parts * a.n + first;
    const auto best = best_of<T>(first + size < a.n ? size : a.n - first, 1, a.minimum, x);
    if (lane_of_team()) return;
    a.index[item] = best.index;
    to<T>(a.out)[item] = x[best.index];
  }
};
template <class T>
struct ExtremeOfColumn {
  using Args = Extreme;
  static DEVICE void at(const Args& a, int64_t item) {
    const auto x = in<T>(a.x) + item / a.inner * a.n * a.inner + item % a.inner;
    const auto best = best_of<T>(a.n, a.inner, a.minimum, x);
    if (lane_of_team()) return;
    a.index[item] = best.index;
    to<T>(a.out)[item] = x[best.index * a.inner];
  }
};
template <class T>
struct ExtremeAmongParts {
  using Args = ExtremeOfParts;
  static DEVICE void at(const Args& a, int64_t row) {
    const auto values = in<T>(a.values) + row * a.parts;
    const auto best = best_of<T>(a.parts, 1, a.minimum, values);
    if (lane_of_team()) return;
    to<T>(a.out)[row] = values[best.index];
    a.index[row] = best.index * Extreme::kPart + a.part_index[row * a.parts + best.index];
  }
};
template <class T>
static void extreme_rows(const Extreme& a, int64_t, int64_t) {
  start_teams<ExtremeOfRow<T>>(a, a.outer * a.parts);
}
template <class T>
static void start_extreme_columns(const Extreme& a, int64_t, int64_t) {
  start_teams<ExtremeOfColumn<T>>(a, a.outer * a.inner);
}
template <class T>
static void extreme_of_parts(const ExtremeOfParts& a, int64_t, int64_t) {
  start_teams<ExtremeAmongParts<T>>(a, a.rows);
}

// ---- gradients, running sums ----------------------------------------------------------------------------------------

template <class T>
struct SpreadElement {
  using Args = Spread;
  static DEVICE void at(const Args& a, int64_t i) {
    const Divided d = divided(i, a.inner);
    to<T>(a.dx)[i] = in<T>(a.dout)[divided(d.quotient, a.n).quotient * a.inner + d.rest] / Accumulator<T>(a.divisor);
  }
};
template <class T>
static void spread(const Spread& a, int64_t, int64_t) {
  start_items<SpreadElement<T>>(a, a.outer * a.n * a.inner);
}

template <class T>  // unsigned: only sets the width of an element
struct ScatterElement {
  using Args = Scatter;
  static DEVICE void at(const Args& a, int64_t item) {
    static_cast<T*>(a.dx)[(item / a.inner * a.n + a.index[item]) * a.inner + item % a.inner] =
        static_cast<const T*>(a.dout)[item];
  }
};

template <bool wanted, class T, class Sum>
struct RunChain {
  using Args = RunningSums;
  static DEVICE void at(const Args& a, int64_t item) {
    const int64_t chain = item / a.inner % a.chains, outer = item / a.inner / a.chains;
    run_chain<1, wanted, T, Sum>(a, outer, chain, item % a.inner);
  }
};
template <bool wanted, class T, class Sum>
static void run_chains_of(const RunningSums& a, int64_t, int64_t) {
  start_items<RunChain<wanted, T, Sum>>(a, a.outer * a.chains * a.inner);
}
template <bool wanted>
static constexpr PerDtype<Kernel<RunningSums>> running() {
  PerDtype<Kernel<RunningSums>> row = {};
  row.entries[int(DType::float32)] = run_chains_of<wanted, float, float>;
  row.entries[int(DType::float64)] = run_chains_of<wanted, double, double>;
  row.entries[int(DType::bfloat16)] = run_chains_of<wanted, BFloat16, float>;
  row.entries[int(DType::float16)] = run_chains_of<wanted, Float16, float>;
  row.entries[int(DType::int64)] = run_chains_of<wanted, int64_t, uint64_t>;
  row.entries[int(DType::int32)] = run_chains_of<wanted, int32_t, uint64_t>;
  row.entries[int(DType::boolean)] = run_chains_of<wanted, bool, uint64_t>;
  row.entries[int(DType::int8)] = run_chains_of<wanted, int8_t, uint64_t>;
  row.entries[int(DType::uint8)] = run_chains_of<wanted, uint8_t, uint64_t>;
  return row;
}

template <class A>
static __global__ void __launch_bounds__(kTreeThreads) running_bases(const Counted<RunningBases> counted) {
  const RunningBases& a = counted.args;
  const int64_t item = thread_index();
  if (item >= counted.count) return;
  A* bases = static_cast<A*>(a.bases) + item / a.inner * a.chains * a.inner + item % a.inner;
  SumTreeOf<A> tree = own_tree<A>();
  for (int64_t i = 0; i < a.chains; ++i) {
    A& base = bases[(a.reverse ? a.chains - 1 - i : i) * a.inner];
    const A total = base;
    base = i ? tree.total() : A(0);
    tree.add(total);
  }
}
template <class A>
static void start_running_bases(const RunningBases& a, int64_t, int64_t count) {
  start(running_bases<A>, ceil_div(count, kTreeThreads), kTreeThreads, sizeof(TreeShared<A>),
        Counted<RunningBases>{a, count});
}
struct IntegerBases {
  using Args = RunningBases;
  static DEVICE void at(const Args& a, int64_t item) {
    uint64_t* bases = static_cast<uint64_t*>(a.bases) + item / a.inner * a.chains * a.inner + item % a.inner;
    uint64_t sum = 0;
    for (int64_t i = 0; i < a.chains; ++i) {
      uint64_t& base = bases[(a.reverse ? a.chains - 1 - i : i) * a.inner];
      const uint64_t total = base;
      base = sum;
      sum += total;
    }
  }
};

// ---- the table ------------------------------------------------------------------------------------------------------

template <class Args, class Get>
static constexpr PerDtype<Kernel<Args>> for_integers(PerDtype<Kernel<Args>> row, const Get& get) {
  row.entries[int(DType::int64)] = get.template operator()<int64_t>();
  row.entries[int(DType::int32)] = get.template operator()<int32_t>();
  row.entries[int(DType::boolean)] = get.template operator()<bool>();
  row.entries[int(DType::int8)] = get.template operator()<int8_t>();
  row.entries[int(DType::uint8)] = get.template operator()<uint8_t>();
  return row;
}
template <class Args, class Get>
static constexpr PerDtype<Kernel<Args>> for_numbers(const Get& get) {
  return for_integers<Args>(for_each_float<Kernel<Args>>(get), get);
}

template <>
const ReduceTable& cuda_table<ReduceTable>() {
  static constexpr ReduceTable table = {
      .sum_blocks = for_each_float<Kernel<SumBlocks>>([]<class T>() -> Kernel<SumBlocks> { return sum_blocks<T>; }),
      .sum_tree = {{start_sum_tree<float>, start_sum_tree<double>}},
      .sum_integers = for_integers<SumIntegers>({}, []<class T>() -> Kernel<SumIntegers> { return sum_integers<T>; }),
      .extreme_rows = for_numbers<Extreme>([]<class T>() -> Kernel<Extreme> { return extreme_rows<T>; }),
      .extreme_columns = for_numbers<Extreme>([]<class T>() -> Kernel<Extreme> { return start_extreme_columns<T>; }),
      .extreme_of_parts =
          for_numbers<ExtremeOfParts>([]<class T>() -> Kernel<ExtremeOfParts> { return extreme_of_parts<T>; }),
      .spread = for_each_float<Kernel<Spread>>([]<class T>() -> Kernel<Spread> { return spread<T>; }),
      .scatter =
          per_item_size<Kernel<Scatter>>([]<class T>() -> Kernel<Scatter> { return each_item<ScatterElement<T>>; }),
      .running_totals = running<false>(),
      .running_sums = running<true>(),
      .running_bases = {
          {start_running_bases<float>, start_running_bases<double>, nullptr, nullptr, each_item<IntegerBases>}}};
  return table;
}

}  // namespace pyformer::cuda
