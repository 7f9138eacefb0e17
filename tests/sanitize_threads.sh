#!/usr/bin/env bash
# Builds the C++ tests of the thread pool, the allocator and workspaces with the thread sanitizer in the folder given,
# and runs them. Needs cmake and ninja.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
build=$1
cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DPYFORMER_SANITIZE=thread -DPYFORMER_PYTHON=OFF -DPYFORMER_TESTS=ON >/dev/null
cmake --build "$build" --target pyformer_thread_tests
# GCC 12's sanitizer finds no room for its shadow memory where addresses are too random.
TSAN_OPTIONS=halt_on_error=1 setarch -R "$build/pyformer_thread_tests"
