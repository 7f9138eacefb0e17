// Memory for intermediate results. Each thread keeps a block of its own from one task to the next: if two threads used
// the same memory in turn, every line of it would move from one's cache to the other's.
#pragma once
#include <cstdint>

namespace pyformer {

// A block that one thread keeps; declare it thread_local. memory_stats() does not count it, empty_cache() keeps it.
class ThreadBlock {
 public:
  static constexpr int64_t kMaxBytes = int64_t(2) << 20;  // more is not kept

  ThreadBlock() = default;
  ~ThreadBlock();
  ThreadBlock(const ThreadBlock&) = delete;
  ThreadBlock& operator=(const ThreadBlock&) = delete;

  // At least this many bytes, 64-byte aligned, contents undefined where they are more than there were. OutOfMemory.
  void* reserve(int64_t bytes);

  uint64_t contents = 0;  // what the block holds, by its user's own numbers; 0 where that is nothing

 private:
  void* data_ = nullptr;
  int64_t bytes_ = 0;
};

// Memory of one scope: the thread's block where `kept` is given and `bytes` are few enough to keep, else from the
// allocator; always from there in guard mode and with PYFORMER_ALLOCATOR=system, which watch the bounds of each
// request.
class Workspace {
 public:
  explicit Workspace(int64_t bytes, ThreadBlock* kept = nullptr);
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  void* data() const { return data_; }  // null for 0 bytes
  bool is_kept() const { return is_kept_; }

 private:
  int64_t bytes_;
  bool is_kept_;
  void* data_;
};

}  // namespace pyformer
