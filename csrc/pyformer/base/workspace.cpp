#include "pyformer/base/workspace.h"

#include <stdlib.h>

#include "pyformer/base/allocator.h"
#include "pyformer/base/error.h"

namespace pyformer {

// Leaves the block empty, not dangling: the destructor of another thread_local may still reserve memory in it.
ThreadBlock::~ThreadBlock() {
  free(data_);
  data_ = nullptr;
  bytes_ = 0;
}

static void* take(int64_t bytes) {
  void* block = nullptr;
  return posix_memalign(&block, 64, static_cast<size_t>(bytes)) == 0 ? block : nullptr;
}

void* ThreadBlock::reserve(int64_t bytes) {
  if (bytes <= bytes_) return data_;
  free(data_);
  data_ = nullptr;
  bytes_ = 0;
  contents = 0;
  data_ = take(bytes);
  if (!data_) {
    empty_cache();
    data_ = take(bytes);
  }
  if (!data_) throw OutOfMemory(cat("cannot allocate ", bytes, " bytes"));
  bytes_ = bytes;
  return data_;
}

Workspace::Workspace(int64_t bytes, ThreadBlock* kept)
    : bytes_(bytes),
      is_kept_(kept && bytes > 0 && bytes <= ThreadBlock::kMaxBytes && !watches_bounds()),
      data_(is_kept_ ? kept->reserve(bytes)
            : bytes  ? allocate(bytes)
                     : nullptr) {}

Workspace::~Workspace() {
  if (!is_kept_) deallocate(data_, bytes_);
}

}  // namespace pyformer
