#!/usr/bin/env bash
# Builds the extension with address and undefined-behaviour sanitizers in the folder given and runs the op cases on it.
# Needs cmake, ninja, pybind11, numpy and pytest; torch is not imported.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
build=$1
mkdir -p "$build/site"
cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DPYFORMER_SANITIZE=address,undefined -Dpybind11_DIR="$(python -m pybind11 --cmakedir)" \
  -DPython_EXECUTABLE="$(command -v python)" >/dev/null
cmake --build "$build" --target _core
cp -r "$root/pyformer" "$build/site/"
cp "$build"/_core*.so "$build/libpyformer.so" "$build/site/pyformer/"
cd "$build"
export PYTHONPATH="$build/site:$root/tests" PYFORMER_ALLOCATOR=system
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
LD_PRELOAD="$(g++ -print-file-name=libasan.so):$(g++ -print-file-name=libstdc++.so)" \
  python -m pytest -q -p no:cacheprovider --rootdir="$root/tests" -c /dev/null --import-mode=importlib \
  "$root/tests/test_cases.py" -k "reference or threads"
