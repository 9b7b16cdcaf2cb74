#!/usr/bin/env bash
# A model of 8.2e9 parameters trained whole on a few GPUs (configs/qwen3-8b-4gpus.yaml, random weights): RL steps, sampling and training in one process, then
# supervised steps on sequences of 4,096 tokens. Prints the memory plan, then a row a step, and judges.
#   experiments/qwen3-8b/run.sh [WORKERS [KEY=VALUE...]]   WORKERS: GPUs (default 4); keys: of the RL steps
#   ZK_BUILD=DIR   takes DIR/zerokl instead of building        ZK_RUNS=DIR   where the run directories go (default runs)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib/packages.sh
. "$here/../lib/packages.sh"
zk_help "$@"
cd "$ZK_ROOT"

workers=${1:-4}
shift || true
runs=${ZK_RUNS:-runs}/qwen3-8b config=configs/qwen3-8b-4gpus.yaml
if [ -z "${ZK_BUILD:-}" ]; then
  zk_packages build
  zk_build -DZK_CUDA=ON -DZK_NCCL=ON -DZK_BUILD_TESTS=OFF
  ZK_BUILD=build
fi
[ -x "$ZK_BUILD/zerokl" ] || zk_die "there is no $ZK_BUILD/zerokl"
mkdir -p "$runs"
rm -rf "$runs/rl" "$runs/sft"
zerokl() { zk_mpirun "$workers" "$ZK_BUILD/zerokl" "$@"; }

# As many letters as make 4,096 tokens with the prompt's and the end's.
awk 'BEGIN { srand(1); for (i = 0; i < 64; i++) { t = ""; for (k = 0; k < 4093; k++) t = t sprintf("%c", 97 + int(rand() * 26));
  printf "{\"prompt\": \"%02d\", \"label\": \"x\", \"demonstration\": \"%s\"}\n", i, t } }' >"$runs/long.jsonl"

zerokl train $config run.dir="$runs/rl" "$@" --dry-run | grep '^#'
zerokl train $config run.dir="$runs/rl" "$@"
zerokl sft $config run.dir="$runs/sft" run.steps=3 task.name=jsonl task.path="$runs/long.jsonl" task.heldout=8 sft.batch=$((8 * workers))
awk -v workers="$workers" -f "$here/judge.awk" "$runs/rl/metrics.jsonl" "$runs/sft/metrics.jsonl"
