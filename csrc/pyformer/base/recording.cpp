#include "pyformer/base/recording.h"

#include <chrono>

#include "pyformer/base/float_mode.h"
#include "pyformer/base/thread_pool.h"

namespace pyformer {

static thread_local Recording* current = nullptr;

Recording* recording() { return current; }

Recording* record_into(Recording* recording) { return std::exchange(current, recording); }

void Recording::note(std::function<void()> check) {
  checks_.push_back(std::make_unique<std::function<void()>>(std::move(check)));
  const std::function<void()>* const kept = checks_.back().get();
  note(
      "check",
      [](const Call&, const void* args, int64_t, int64_t) {
        (**static_cast<const std::function<void()>* const*>(args))();
      },
      nullptr, DType::boolean, -1, 0, kept);
}

void Recording::make(const Call& call) const {
  if (call.items == 0) return;
  const void* const args = &args_[call.args];
  if (call.items < 0)
    call.function(call, args, 0, 0);
  else if (call.items <= call.grain)
    call.function(call, args, 0, call.items);
  else
    parallel_for(call.items, call.grain, [&](int64_t begin, int64_t end) { call.function(call, args, begin, end); });
}

void Recording::replay() const {
  const DefaultFloatMode mode;
  for (const Call& call : calls_) make(call);
}

std::vector<std::pair<const char*, int64_t>> Recording::timed_replay() const {
  using std::chrono::steady_clock;
  const DefaultFloatMode mode;
  std::vector<std::pair<const char*, int64_t>> times;
  for (const Call& call : calls_) {
    const auto start = steady_clock::now();
    make(call);
    times.emplace_back(call.op, std::chrono::nanoseconds(steady_clock::now() - start).count());
  }
  return times;
}

}  // namespace pyformer
