#!/usr/bin/env bash
# Measures the CUDA device on this machine's GPUs and prints the table that docs/gpu.md lacks.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'END'
usage: bench/gpu.sh [--steps N] [--repeat R]

Builds gpupool with its CUDA device, runs the conformance tests on every GPU there is, and times a
guided step of a network of DiT-XL/2's shape (random weights, 256 tokens) on one GPU in f32 and bf16
and, where there are as many, on 2 and 4 of them over NCCL. Prints a table in Markdown: medians of R
pictures [5] of N steps [50]. Needs an NVIDIA GPU, the CUDA Toolkit 13 and, for several, NCCL.
END
}

steps=50 repeat=5
while (($#)); do
  case $1 in
    --steps) steps=${2:?$1 needs a number}; shift 2 ;;
    --repeat) repeat=${2:?$1 needs a number}; shift 2 ;;
    --help | -h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done

give_up() { echo "bench/gpu.sh: $*" >&2; exit 1; }
command -v nvidia-smi >/dev/null || give_up "no nvidia-smi: is there an NVIDIA GPU, and its driver?"
gpus=$(nvidia-smi --query-gpu=name --format=csv,noheader | wc -l)
((gpus > 0)) || give_up "nvidia-smi lists no GPU"

build=build/release
cmake --preset release >/dev/null || give_up "cmake --preset release failed; run ./quickstart once"
grep -q '^GPUPOOL_CUDA:BOOL=ON' $build/CMakeCache.txt ||
  give_up "this build has no CUDA device: cmake found no nvcc of the CUDA Toolkit 13"
cmake --build --preset release -j "$(nproc)" --target gpu_test bench_gpu >/dev/null ||
  give_up "the build failed: cmake --build --preset release --target gpu_test bench_gpu"

conformance=fails
if GPUPOOL_SOURCE_DIR=$PWD $build/gpu_test >$build/gpu_test.log 2>&1; then conformance=passes; fi

# measure RANKS PRECISION: the object that bench_gpu prints.
measure() { $build/bench_gpu --ranks "$1" --precision "$2" --steps "$steps" --repeat "$repeat"; }
# field NAME OBJECT
field() { sed -n "s/.*\"$1\":\([^,}]*\).*/\1/p" <<<"$2"; }
row() {  # WHAT OBJECT EXPECTED
  printf '| %s | %.2f ms | %.2f to %.2f | %s |\n' "$1" "$(field step_ms "$2")" \
    "$(field fastest_ms "$2")" "$(field slowest_ms "$2")" "$3"
}

nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | sort | uniq -c
echo "$(date -u +%F), $(git describe --always --dirty 2>/dev/null || echo 'no commit'); \`bench/gpu.sh --steps $steps --repeat $repeat\`; conformance $conformance"
echo
echo "| a guided step of DiT-XL/2 | median | spread | expected |"
echo "|---|---|---|---|"
f32=$(measure 1 f32)
row "one GPU, f32" "$f32" "none stated"
one=$(measure 1 bf16)
row "one GPU, bf16" "$one" "0.6 ms on an H200, by sums"
for ranks in 2 4; do
  ((gpus >= ranks)) || { echo "| $ranks GPUs, bf16 | not measured | | $gpus here |"; continue; }
  several=$(measure "$ranks" bf16)
  published=1.65
  ((ranks == 2)) || published=2.63
  faster=$(awk -v a="$(field step_ms "$one")" -v b="$(field step_ms "$several")" 'BEGIN { printf "%.2f", a / b }')
  row "$ranks GPUs, bf16: $faster times as fast" "$several" "xDiT published $published times"
done
[[ $conformance == passes ]] || give_up "the conformance tests failed: $build/gpu_test.log"
