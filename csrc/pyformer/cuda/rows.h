// Rows and their sums, in the order of the row-reduction rule of the CPU (base/reduce.h): 16 lanes in blocks of 4,096
// elements, lanes meet in a binary tree, block sums in another. 16 threads are the lanes. They do rows of one block by
// themselves; a longer row has a thread block, whose 16 teams of 16 take its blocks in turn.
//
//   struct SoftmaxRow {
//     using Args = SoftmaxForward;
//     template <class Team>
//     static DEVICE void at(const Args& a, Team& team, int64_t row) { ... team.sum(a.cols, ...) ... }
//   };
//   start_rows<SoftmaxRow, float>(a, rows, cols);
//
// Functions of a team are called by all of its threads, which all get the result.
#pragma once
#include "pyformer/base/math.h"
#include "pyformer/cuda/kernel.h"

namespace pyformer::cuda {

constexpr int kTeam = int(kLanes), kTeams = 16;
template <class A>
constexpr A kLowest = -A(__builtin_inff());

// A lane's place in its team, and the lanes of that team within the warp.
DEVICE int lane_of_team() { return int(threadIdx.x) % kTeam; }
DEVICE uint32_t mask_of_team() { return 0xffffu << (threadIdx.x & 16); }

template <class A>
DEVICE A sum_of_team(A x) {
#pragma unroll
  for (int half = kTeam / 2; half > 0; half /= 2) x = x + __shfl_xor_sync(mask_of_team(), x, half);
  return x;
}
template <class A>
DEVICE A max_of_team(A x) {
#pragma unroll
  for (int half = kTeam / 2; half > 0; half /= 2) x = max(x, __shfl_xor_sync(mask_of_team(), x, half));
  return x;
}

// The sum over a block: accumulate(i, lane) gives a lane's new value.
template <class A = float, class Accumulate>
DEVICE A block_sum(int64_t start, int64_t stop, const Accumulate& accumulate) {
  A lane = 0;
  for (int64_t i = start + lane_of_team(); i < stop; i += kTeam) lane = accumulate(i, lane);
  return sum_of_team(lane);
}

// Sums s[0 ... n) in the tree of BlockTree, for n <= 16, to s[0].
template <class A>
DEVICE void meet(A* s, int n) {
  for (int step = 1; step < n; step *= 2)
    for (int i = 0; i + step < n; i += 2 * step) s[i] = s[i] + s[i + step];
}

// BlockTree on memory of its own: `levels` of numbers, `apart` from one to the next.
constexpr int kTreeLevels = 48;
template <class A = float>
struct SumTreeOf {
  A* levels;
  int apart;
  int64_t count = 0;
  DEVICE void add(A sum) {
    int level = 0;
    for (int64_t n = count; n & 1; n >>= 1) sum = levels[level++ * apart] + sum;
    levels[level * apart] = sum;
    ++count;
  }
  // `rest`, where there is one, is the sum of what came last and is smaller than what was added.
  DEVICE A total(bool any = false, A rest = 0) const {
    for (int level = 0; count >> level; ++level)
      if (count >> level & 1) {
        rest = any ? levels[level * apart] + rest : levels[level * apart];
        any = true;
      }
    return rest;
  }
};

// A tree for each thread, in shared memory: start with kTreeThreads threads and sizeof(TreeShared).
constexpr int kTreeThreads = 32;
template <class A = float>
struct TreeShared {
  A levels[kTreeLevels][kTreeThreads];
};
template <class A = float>
DEVICE SumTreeOf<A> own_tree() {
  return {shared_memory<TreeShared<A>>().levels[0] + threadIdx.x, kTreeThreads};
}

// 16 threads to a row of at most kReduceBlock elements.
template <class A>
struct LaneTeam {
  using Number = A;
  static constexpr int kRows = 8, kThreads = kRows * kTeam;
  struct Shared {};

  DEVICE explicit LaneTeam(Shared*) {}
  DEVICE int64_t row() const { return int64_t(blockIdx.x) * kRows + threadIdx.x / kTeam; }
  template <class Accumulate>
  DEVICE A reduce(int64_t n, const Accumulate& accumulate) {
    return block_sum<A>(0, n, accumulate);
  }
  template <class X>
  DEVICE A largest(int64_t n, const X& x) {
    A m = kLowest<A>;
    for (int64_t i = lane_of_team(); i < n; i += kTeam) m = max(A(x(i)), m);
    return max_of_team(m);
  }
  template <class Use>
  DEVICE void each(int64_t n, const Use& use) {
    for (int64_t i = lane_of_team(); i < n; i += kTeam) use(i);
  }
  DEVICE bool is_first() const { return lane_of_team() == 0; }
};

// A thread block to a row.
template <class A>
struct BlockTeam {
  using Number = A;
  static constexpr int kRows = 1, kThreads = kTeams * kTeam;
  struct Shared {
    A sums[kTeams], levels[kTreeLevels], total;
  };
  Shared& s;

  DEVICE explicit BlockTeam(Shared* shared) : s(*shared) {}
  DEVICE int64_t row() const { return blockIdx.x; }
  DEVICE int team() const { return int(threadIdx.x) / kTeam; }

  // The tree of what sum_of(block) gives for each block < blocks; a team calls it.
  template <class SumOf>
  DEVICE A sum_of_blocks(int64_t blocks, const SumOf& sum_of) {
    SumTreeOf<A> tree = {s.levels, 1};  // of the sums of 16 blocks
    for (int64_t first = 0; first < blocks; first += kTeams) {
      const A sum = first + team() < blocks ? sum_of(first + team()) : A(0);
      if (is_first_lane()) s.sums[team()] = sum;
      __syncthreads();
      if (threadIdx.x == 0) {
        const int count = int(min(blocks - first, int64_t(kTeams)));
        meet(s.sums, count);
        if (count == kTeams) tree.add(s.sums[0]);
        if (first + kTeams >= blocks) s.total = count == kTeams ? tree.total() : tree.total(true, s.sums[0]);
      }
      __syncthreads();
    }
    return blocks > 0 ? s.total : A(0);
  }
  template <class Accumulate>
  DEVICE A reduce(int64_t n, const Accumulate& accumulate) {
    return sum_of_blocks(ceil_div(n, kReduceBlock), [&](int64_t block) {
      const int64_t start = block * kReduceBlock;
      return block_sum<A>(start, min(n, start + kReduceBlock), accumulate);
    });
  }
  template <class X>
  DEVICE A largest(int64_t n, const X& x) {
    A m = kLowest<A>;
    for (int64_t i = threadIdx.x; i < n; i += kThreads) m = max(A(x(i)), m);
    m = max_of_team(m);
    if (is_first_lane()) s.sums[team()] = m;
    __syncthreads();
    for (int t = 0; t < kTeams; ++t) m = max(s.sums[t], m);
    __syncthreads();
    return m;
  }
  template <class Use>
  DEVICE void each(int64_t n, const Use& use) {
    for (int64_t i = threadIdx.x; i < n; i += kThreads) use(i);
  }
  DEVICE bool is_first() const { return threadIdx.x == 0; }

 private:
  DEVICE bool is_first_lane() const { return lane_of_team() == 0; }
  static DEVICE int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
};

// sum_i x(i), and sum_i x(i) * y(i) by FMA
template <class Team, class X, class A = typename Team::Number>
DEVICE A row_sum(Team& team, int64_t n, const X& x) {
  return team.reduce(n, [&](int64_t i, A lane) { return lane + x(i); });
}
template <class Team, class X, class Y, class A = typename Team::Number>
DEVICE A row_dot(Team& team, int64_t n, const X& x, const Y& y) {
  return team.reduce(n, [&](int64_t i, A lane) { return fma(A(x(i)), A(y(i)), lane); });
}

// Registers for so many threads of a multiprocessor, 48 each, of float64 80: for more threads the compiler spills some.
// A Row that needs more registers has a kResident of its own.
template <class Row, class A>
constexpr int resident_threads() {
  if constexpr (requires { Row::kResident; }) return Row::kResident;
  return sizeof(A) == 8 ? 768 : 1280;
}
template <class Row, class Team>
__global__ void __launch_bounds__(Team::kThreads, resident_threads<Row, typename Team::Number>() / Team::kThreads)
    rows(const Counted<typename Row::Args> a) {
  Team team(&shared_memory<typename Team::Shared>());
  if (team.row() < a.count) Row::at(a.args, team, team.row());
}

// Row::at(args, team, row) for each row < count, of at most kReduceBlock elements each; sums are in A.
template <class Row, class A>
void start_short_rows(const typename Row::Args& args, int64_t count) {
  using Team = LaneTeam<A>;
  start(rows<Row, Team>, ceil_div(count, Team::kRows), Team::kThreads, sizeof(typename Team::Shared),
        Counted<typename Row::Args>{args, count});
}
// The same for rows of any length.
template <class Row, class A>
void start_rows(const typename Row::Args& args, int64_t count, int64_t cols) {
  if (cols <= kReduceBlock) return start_short_rows<Row, A>(args, count);
  using Team = BlockTeam<A>;
  start(rows<Row, Team>, count, Team::kThreads, sizeof(typename Team::Shared),
        Counted<typename Row::Args>{args, count});
}

}  // namespace pyformer::cuda
