#!/usr/bin/env bash
# Offline generation on one GPU, all in one run: numerics bf16 and vendor of `zerokl rollout --bench`, and rivals in PyTorch where it is installed
# (ZK_PYTHON names its python), at a Qwen3 shape with random weights, on the shared workload (256 sequences, 100 to 1024 tokens in and out) and on
# 1,024 tokens in and out. Usage: generation.sh [0.6B|1.7B|8B] [shared|1k] [bf16|vendor [KEY=VALUE...]]: all, or one of ours alone, perhaps with other settings.
# One JSON object a line, in runs/bench/generation-SHAPE-LOAD.jsonl too (ZK_RUNS: elsewhere than runs/).
# ZK_BUILD names a build other than build/. transformers, many times slower, generates ZK_TRANSFORMERS_SEQUENCES (64) instead of 256, of the same lengths.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
shape=${1:-0.6B} load=${2:-shared} build=${ZK_BUILD:-build} python=${ZK_PYTHON:-python3}
# shellcheck source=shapes.sh
. "$here/shapes.sh"
model=$(qwen3_init "$shape") || { echo "shape $shape: one of 0.6B, 1.7B, 8B" >&2; exit 2; }
case $load in
shared) least=100 ;;
1k) least=1024 ;;
*) echo "load $load: shared or 1k" >&2; exit 2 ;;
esac
alone=${3:-}
case $alone in
'' | bf16 | vendor) ;;
*) echo "numerics $alone: bf16 or vendor" >&2; exit 2 ;;
esac
runs=${ZK_RUNS:-runs}/bench
mkdir -p "$runs"
rows=$runs/generation-$shape-$load.jsonl
cat >"$runs/generation.yaml" <<END
seed: 1
device: cuda
run: {name: generation, steps: 1}
model: {init: {$model, rope_theta: 1000000}}
task: {name: reverse, heldout: 16}
rollout: {max_new_tokens: 1024, max_batch: 256, prefill_chunk: 4096}
END
: >"$rows"
for numerics in ${alone:-bf16 vendor}; do
  "$build/zerokl" rollout --bench --min $least --max 1024 "$runs/generation.yaml" numerics=$numerics "${@:4}" | tee -a "$rows"
done
[ -z "$alone" ] || exit 0
if ! "$python" -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
  echo "no torch with CUDA in $python: no rivals (pip install torch transformers; ZK_PYTHON=...)" >&2
  exit 0
fi
rival() { "$python" "$here/$1.py" --shape "$shape" --min $least --max 1024 "${@:2}" | tee -a "$rows" || echo "$1: failed" >&2; }
rival rival_graph
rival rival_graph --eager
rival rival_transformers --sequences "${ZK_TRANSFORMERS_SEQUENCES:-64}"
