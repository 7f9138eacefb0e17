// A list of kernel calls, noted while ops make them, to be made again on the same memory without the ops.
//
// While a thread records, each kernel, copy and fill that it starts on the CPU is noted: a function and a copy of its
// plain arguments. Results are in memory that the recording keeps. What a call does besides, with numbers that Python
// gives or reads, random numbers, or on a device, can't be made again: `refuse` says so, and the recording is of no
// use.
#pragma once
#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "pyformer/base/dtype.h"

namespace pyformer {

class Recording {
 public:
  struct Call;
  // Does work items [begin, end) of a kernel, or the whole of a program.
  using Function = void (*)(const Call& call, const void* args, int64_t begin, int64_t end);
  struct Call {
    const char* op;
    Function function;
    void (*kernel)();
    DType dtype;
    int64_t items, grain;  // items -1: a program, which shares out its own work
    size_t args;           // where they lie
  };

  template <class Args>
  void note(const char* op, Function function, void (*kernel)(), DType dtype, int64_t items, int64_t grain,
            const Args& args) {
    static_assert(std::is_trivially_copyable_v<Args> && alignof(Args) <= alignof(std::max_align_t));
    const size_t at = args_.size();
    args_.resize(at + (sizeof args + alignof(std::max_align_t) - 1) / alignof(std::max_align_t));
    std::memcpy(&args_[at], &args, sizeof args);
    calls_.push_back({op, function, kernel, dtype, items, grain, at});
  }
  // What the last call was noted with, if `function` makes it; null: it is another one.
  template <class Args>
  const Args* last(Function function) const {
    const bool is_it = !calls_.empty() && calls_.back().function == function;
    return is_it ? reinterpret_cast<const Args*>(&args_[calls_.back().args]) : nullptr;
  }
  void drop_last() {
    args_.resize(calls_.back().args);
    calls_.pop_back();
  }
  // What is done on the calling thread: a look at numbers that earlier calls wrote, and an exception if they are wrong.
  void note(std::function<void()> check);
  // Lives as long as the recording.
  void keep(std::shared_ptr<const void> what) { kept_.push_back(std::move(what)); }
  // Memory of results: those that nobody else holds any more may be used again.
  std::vector<std::shared_ptr<void>>& blocks() { return blocks_; }

  void refuse(const char* why) {
    if (refused_.empty()) refused_ = why;
  }
  const std::string& refused() const { return refused_; }  // why it is of no use; "" if it is of use
  size_t size() const { return calls_.size(); }

  // Makes the calls again, in order.
  void replay() const;
  // The same, and how many ns each took.
  std::vector<std::pair<const char*, int64_t>> timed_replay() const;

 private:
  void make(const Call& call) const;
  std::vector<Call> calls_;
  std::vector<std::max_align_t> args_;
  std::vector<std::unique_ptr<std::function<void()>>> checks_;
  std::vector<std::shared_ptr<const void>> kept_;
  std::vector<std::shared_ptr<void>> blocks_;
  std::string refused_;
};

// What the calling thread records into; null: nothing.
Recording* recording();
// Returns what it recorded into before.
Recording* record_into(Recording* recording);

// While it lives, the calling thread records nothing: what it does then is a part of a call that is noted, or is done
// once.
class NotRecording {
 public:
  NotRecording() : before_(record_into(nullptr)) {}
  ~NotRecording() { record_into(before_); }
  NotRecording(const NotRecording&) = delete;

 private:
  Recording* const before_;
};

inline void refuse_to_record(const char* why) {
  if (Recording* r = recording()) r->refuse(why);
}

}  // namespace pyformer
