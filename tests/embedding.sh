#!/usr/bin/env bash
# Builds examples/cpp in the folder given against the CMake package in the other one, runs it and checks what it prints.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
build=$1 package=$2
cmake -S "$root/examples/cpp" -B "$build" -G Ninja -Dpyformer_DIR="$package" >/dev/null
cmake --build "$build"
diff - <("$build/layer") <<'EXPECTED'
y: 3 0 0.5 1
loss: 10.25
dweight: 5 12 20 -2 0 4
dbias: 7 2
EXPECTED
if ldd "$build/layer" | grep libpython; then exit 1; fi
ldd "$build/layer" | grep libpyformer.so
