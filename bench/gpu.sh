#!/usr/bin/env bash
# What a machine with a GPU has to tell, in one call of at most 400 s: bench/gpu.sh. Each part has a limit of its own and
# stands in $OUT/report.txt as soon as it is done; one that fails stops no other.
#   OUT=FOLDER         where report.txt, log.txt, ceilings.jsonl and gpu.jsonl go; default build/gpu
#   GPU_BUILD=here     builds the library and the extension module first; the machine needs no registry
#   GPU_BUILD=carried  builds the extension module; libpyformer_cuda*.so lie in build/carried, built elsewhere
#   GPU_BUILD=none     measures what is installed
#   DEVICE=cuda:emulated with GPU_BUILD=none is a dry run: every part, tiny sizes, no GPU
set -uo pipefail
cd "$(dirname "$0")/.."
device=${DEVICE:-cuda} build=${GPU_BUILD:-here} out=${OUT:-build/gpu} total=400
mkdir -p "$out"
report=$out/report.txt log=$out/log.txt results=$out/gpu.jsonl tree=build/gpu-tree
: >"$report" >"$log"
rm -f "$results" "$out/ceilings.jsonl"
command -v nvcc >/dev/null || PATH=$PATH:/usr/local/cuda/bin
quick=() jobs=8 patience=1
if [ "$device" = cuda:emulated ]; then quick=(--quick) jobs=1 patience=4 total=1600; fi  # on a busy machine, too
options=(--device "$device" --limit $((20 * patience)) "${quick[@]}")

# part NAME LIMIT COMMAND...: the command's last lines go to the report, all of them to the log.
part() {
  local name=$1 limit=$(($2 * patience)) start=$SECONDS rc=0
  shift 2
  if ((limit > total - SECONDS)); then limit=$((total - SECONDS)); fi
  printf '\n=== %s\n' "$name" >>"$log"
  if ((limit < 1)); then
    printf '%s: no time left\n' "$name" | tee -a "$report"
    return
  fi
  timeout --kill-after=5 "$limit" "$@" >"$out/part.txt" 2>&1 || rc=$?
  cat "$out/part.txt" >>"$log"
  printf '%s: %s, %d s\n' "$name" "$([ $rc = 0 ] && echo ok || echo "FAILED ($rc)")" $((SECONDS - start)) | tee -a "$report"
  tail -n "${lines:-12}" "$out/part.txt" | cut -c1-300 | sed 's/^/    /' | tee -a "$report"
}

machine() {
  nvidia-smi --query-gpu=name,driver_version,compute_cap,clocks.sm,clocks.max.sm,clocks.mem,memory.total,power.limit --format=csv
  nvcc --version | tail -n 2
  python3 -c 'import torch; print("torch", torch.__version__, torch.cuda.get_device_name() if torch.cuda.is_available() else "")'
}

compile() {
  local arch cuda=ON
  arch=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
  [ "$arch" = 90 ] && arch=90a
  [ "$build" = carried ] && cuda=OFF
  cmake -S . -B "$tree" -G Ninja -DPYFORMER_CUDA=$cuda -DPYFORMER_CUDA_ARCHITECTURES="$arch-real" -DPYFORMER_TESTS=ON \
    -DPYFORMER_CUDA_EMULATED=ON -Dpybind11_DIR="$(python3 -m pybind11 --cmakedir)" -DPython_EXECUTABLE="$(command -v python3)" || return
  local targets=(_core pyformer_cuda_emulated pyformer_primitives_emulated)
  [ $cuda = ON ] && targets+=(pyformer_cuda pyformer_primitives)
  local rc=0
  ninja -C "$tree" -k 0 "${targets[@]}" >"$out/build.txt" 2>&1 || rc=$?
  grep -E 'FAILED|error' "$out/build.txt" | head -n 40
  find "$tree" -name '_core*.so' -exec cp {} pyformer/ \; -o -name 'libpyformer*.so' -exec cp {} pyformer/ \;
  [ "$build" = carried ] && cp build/carried/libpyformer_cuda*.so pyformer/
  return $rc
}

# Every instruction on random operands: the bits that the emulator gives.
primitives() {
  local there here
  there=$(find "$tree" -name pyformer_primitives_emulated -type f | head -n 1)
  here=$(find "$tree" -name pyformer_primitives -type f | head -n 1)
  "$there" >"$out/emulated.txt" && "$here" >"$out/device.txt"
  diff "$out/emulated.txt" "$out/device.txt" && echo "$(wc -l <"$out/device.txt") instructions have the emulator's bits"
}

sanitizer() {
  printf '%s\n' "$some_cases" | compute-sanitizer --tool "$1" --error-exitcode 9 --target-processes all --print-limit 8 \
    python3 -m bench.gpu cases --child --device "$device" | grep -vE '"hash"'
  return "${PIPESTATUS[1]}"
}
some_cases='["layer_norm-8x64 float32"]'

export -f machine compile primitives sanitizer
export device build out tree some_cases
run() { part "$1" "$2" bash -c "$3"; }

[ "$device" = cuda:emulated ] || run machine 10 machine
if [ "$build" != none ]; then
  run build 120 compile
  export PYTHONPATH=$PWD
  run primitives 10 primitives
fi
part ceilings 15 python3 -m bench.gpu ceilings "${options[@]}" --results "$out/ceilings.jsonl"
part cases 45 python3 -m bench.gpu cases "${options[@]}" --jobs $jobs
if [ "$build" != none ] && command -v compute-sanitizer >/dev/null; then
  some_cases=$(python3 -m bench.gpu cases --list-some)
  for tool in memcheck racecheck initcheck synccheck; do run "sanitizer $tool" 15 "sanitizer $tool"; done
fi
part training 20 python3 -m bench.gpu training "${options[@]}" --results "$results"
part speed 110 python3 -m bench.gpu speed "${options[@]}" --results "$results"
lines=60 part table 10 python3 -m bench.gpu table --device "$device" --results "$results"
rm -f "$out/part.txt"
! grep -q 'FAILED' "$report"
