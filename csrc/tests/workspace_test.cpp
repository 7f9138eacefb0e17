#include "pyformer/base/workspace.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <thread>

#include "pyformer/base/allocator.h"
#include "pyformer/base/error.h"
#include "require.h"

namespace {

using namespace pyformer;

thread_local ThreadBlock block;

void test_a_thread_keeps_its_block() {
  block.contents = 0;
  void* const first = block.reserve(4096);
  REQUIRE(reinterpret_cast<uintptr_t>(first) % 64 == 0);
  std::memset(first, 7, 4096);
  block.contents = 5;
  REQUIRE(block.reserve(100) == first && block.contents == 5);
  REQUIRE(static_cast<char*>(block.reserve(4096))[4095] == 7);
  std::memset(block.reserve(1 << 20), 1, 1 << 20);
  REQUIRE(block.contents == 0);  // what it held is gone

  void* other = nullptr;
  std::thread([&] { other = block.reserve(64); }).join();
  REQUIRE(other != block.reserve(64));
}

void test_workspace_takes_the_block_or_memory_of_its_own() {
  const MemoryStats before = memory_stats();
  {
    const Workspace none(0, &block), unkept(4096), large(ThreadBlock::kMaxBytes + 1, &block);
    REQUIRE(!none.data() && !none.is_kept());
    REQUIRE(unkept.data() && !unkept.is_kept());
    REQUIRE(large.data() && !large.is_kept());
    REQUIRE(memory_stats().live_blocks == before.live_blocks + 2);
    const Workspace kept(4096, &block);
    REQUIRE(kept.is_kept() == !watches_bounds());
    if (kept.is_kept()) REQUIRE(kept.data() == block.reserve(4096));
  }
  REQUIRE(memory_stats().live_bytes == before.live_bytes);
}

void test_guard_mode_sees_a_write_past_the_end() {
  const int64_t violations = guard_violations();
  set_guard_mode(true);
  {
    const Workspace space(100, &block);
    REQUIRE(!space.is_kept());
    static_cast<char*>(space.data())[100] = 1;
  }
  set_guard_mode(false);
  REQUIRE(guard_violations() == violations + 1);
}

}  // namespace

void test_workspace() {
  test_a_thread_keeps_its_block();
  test_workspace_takes_the_block_or_memory_of_its_own();
  test_guard_mode_sees_a_write_past_the_end();
}
