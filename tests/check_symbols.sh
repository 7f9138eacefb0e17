#!/usr/bin/env bash
# Kernel objects must define nothing that other translation units could share: the linker keeps one copy of an inline
# function, and if that were the AVX-512 one, every machine would run it. Give it a CMake build folder.
# Names that are too long for nm stay mangled.
set -euo pipefail
shared=$(find "$1" -path '*pyformer_*.dir*' \( -name '*_cpu.cpp.o' -o -name '*_ref.cpp.o' \
  -o -name '*_avx512_bf16.cpp.o' -o -name '*_amx.cpp.o' \) -exec nm -C {} + |
  awk '$2 ~ /^[WVu]$/' |
  grep -vE ' (pyformer::(ref|portable|avx2|avx512|avx512_bf16|amx)::|_ZNK?8pyformer(3ref|8portable|4avx2|6avx512|11avx512_bf16|3amx))|DW\.ref' || true)
count=$(find "$1" -path '*pyformer_*.dir*' -name '*_cpu.cpp.o' | wc -l)
[ "$count" -gt 0 ] || { echo "no kernel objects under $1"; exit 1; }
if [ -n "$shared" ]; then
  printf 'shared symbols in kernel objects:\n%s\n' "$shared"
  exit 1
fi
echo "$count vector kernel objects define nothing shared"
