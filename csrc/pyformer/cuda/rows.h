// Rows and their sums, in the order of the row-reduction rule of the CPU (base/reduce.h): 16 lanes in blocks of 4,096
// elements, lanes meet in a binary tree, block sums in another. 16 threads are the lanes. They do rows of one block by
// themselves; a longer row has a thread block, whose 16 teams of 16 take its blocks in turn.
//
//   struct SoftmaxRow {
//     using Args = SoftmaxForward;
//     template <class Team>
//     static DEVICE void at(const Args& a, Team& team, int64_t row) { ... team.sum(a.cols, ...) ... }
//   };
//   start_rows<SoftmaxRow>(a, rows, cols);
//
// Functions of a team are called by all of its threads, which all get the result.
#pragma once
#include "pyformer/base/math.h"
#include "pyformer/cuda/kernel.h"

namespace pyformer::cuda {

constexpr int kTeam = int(kLanes), kTeams = 16;
constexpr float kLowest = -__builtin_inff();

// A lane's place in its team, and the lanes of that team within the warp.
DEVICE int lane_of_team() { return int(threadIdx.x) % kTeam; }
DEVICE uint32_t mask_of_team() { return 0xffffu << (threadIdx.x & 16); }

DEVICE float sum_of_team(float x) {
#pragma unroll
  for (int half = kTeam / 2; half > 0; half /= 2) x = x + __shfl_xor_sync(mask_of_team(), x, half);
  return x;
}
DEVICE float max_of_team(float x) {
#pragma unroll
  for (int half = kTeam / 2; half > 0; half /= 2) x = max(x, __shfl_xor_sync(mask_of_team(), x, half));
  return x;
}

// The sum over a block: accumulate(i, lane) gives a lane's new value.
template <class Accumulate>
DEVICE float block_sum(int64_t start, int64_t stop, const Accumulate& accumulate) {
  float lane = 0;
  for (int64_t i = start + lane_of_team(); i < stop; i += kTeam) lane = accumulate(i, lane);
  return sum_of_team(lane);
}

// Sums s[0 ... n) in the tree of BlockTree, for n <= 16, to s[0].
DEVICE void meet(float* s, int n) {
  for (int step = 1; step < n; step *= 2)
    for (int i = 0; i + step < n; i += 2 * step) s[i] = s[i] + s[i + step];
}

// BlockTree on memory of its own: `levels` floats, `apart` from one to the next.
struct SumTreeOf {
  static constexpr int kLevels = 48;
  float* levels;
  int apart;
  int64_t count = 0;
  DEVICE void add(float sum) {
    int level = 0;
    for (int64_t n = count; n & 1; n >>= 1) sum = levels[level++ * apart] + sum;
    levels[level * apart] = sum;
    ++count;
  }
  // `rest`, where there is one, is the sum of what came last and is smaller than what was added.
  DEVICE float total(bool any = false, float rest = 0) const {
    for (int level = 0; count >> level; ++level)
      if (count >> level & 1) {
        rest = any ? levels[level * apart] + rest : levels[level * apart];
        any = true;
      }
    return rest;
  }
};

// 16 threads to a row of at most kReduceBlock elements.
struct LaneTeam {
  static constexpr int kRows = 8, kThreads = kRows * kTeam;
  struct Shared {};

  DEVICE explicit LaneTeam(Shared*) {}
  DEVICE int64_t row() const { return int64_t(blockIdx.x) * kRows + threadIdx.x / kTeam; }
  template <class Accumulate>
  DEVICE float reduce(int64_t n, const Accumulate& accumulate) {
    return block_sum(0, n, accumulate);
  }
  template <class X>
  DEVICE float largest(int64_t n, const X& x) {
    float m = kLowest;
    for (int64_t i = lane_of_team(); i < n; i += kTeam) m = max(float(x(i)), m);
    return max_of_team(m);
  }
  template <class Use>
  DEVICE void each(int64_t n, const Use& use) {
    for (int64_t i = lane_of_team(); i < n; i += kTeam) use(i);
  }
  DEVICE bool is_first() const { return lane_of_team() == 0; }
};

// A thread block to a row.
struct BlockTeam {
  static constexpr int kRows = 1, kThreads = kTeams * kTeam;
  struct Shared {
    float sums[kTeams], levels[SumTreeOf::kLevels], total;
  };
  Shared& s;

  DEVICE explicit BlockTeam(Shared* shared) : s(*shared) {}
  DEVICE int64_t row() const { return blockIdx.x; }
  DEVICE int team() const { return int(threadIdx.x) / kTeam; }

  template <class Accumulate>
  DEVICE float reduce(int64_t n, const Accumulate& accumulate) {
    const int64_t blocks = ceil_div(n, kReduceBlock);
    SumTreeOf tree = {s.levels, 1};  // of the sums of 16 blocks
    for (int64_t first = 0; first < blocks; first += kTeams) {
      const int64_t start = (first + team()) * kReduceBlock, stop = min(n, start + kReduceBlock);
      const float sum = start < n ? block_sum(start, stop, accumulate) : 0.0f;
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
    return n > 0 ? s.total : 0.0f;
  }
  template <class X>
  DEVICE float largest(int64_t n, const X& x) {
    float m = kLowest;
    for (int64_t i = threadIdx.x; i < n; i += kThreads) m = max(float(x(i)), m);
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
template <class Team, class X>
DEVICE float row_sum(Team& team, int64_t n, const X& x) {
  return team.reduce(n, [&](int64_t i, float lane) { return lane + x(i); });
}
template <class Team, class X, class Y>
DEVICE float row_dot(Team& team, int64_t n, const X& x, const Y& y) {
  return team.reduce(n, [&](int64_t i, float lane) { return fma(float(x(i)), float(y(i)), lane); });
}

// Registers for 1,280 threads of a multiprocessor, 48 each: for more threads the compiler spills some.
template <class Row, class Team>
__global__ void __launch_bounds__(Team::kThreads, 1280 / Team::kThreads) rows(const Counted<typename Row::Args> a) {
  Team team(&shared_memory<typename Team::Shared>());
  if (team.row() < a.count) Row::at(a.args, team, team.row());
}

// Row::at(args, team, row) for each row < count.
template <class Row>
void start_rows(const typename Row::Args& args, int64_t count, int64_t cols) {
  const Counted<typename Row::Args> counted = {args, count};
  if (cols <= kReduceBlock)
    start(rows<Row, LaneTeam>, ceil_div(count, LaneTeam::kRows), LaneTeam::kThreads, sizeof(LaneTeam::Shared), counted);
  else
    start(rows<Row, BlockTeam>, count, BlockTeam::kThreads, sizeof(BlockTeam::Shared), counted);
}

}  // namespace pyformer::cuda
