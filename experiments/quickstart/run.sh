#!/usr/bin/env bash
# From a bare machine to a verified RL run: installs what is missing, builds, warms a small model up, runs GRPO on two workers,
# verifies every bit. f32 bits are the same everywhere, so the run must end with the hash in expected.txt.
#   ZK_RUNS=DIR puts the run directories elsewhere (default: runs/ in the repository)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib/packages.sh"
cd "$ZK_ROOT"
here=experiments/quickstart
runs=${ZK_RUNS:-runs}

zk_packages build
zk_build -DZK_BUILD_TESTS=OFF

warm=$runs/quickstart-sft
rl=$runs/quickstart
zk_say "supervised warm-up of a model made from scratch ($warm)"
zk_mpirun 2 build/zerokl sft configs/quickstart-sft.yaml "run.dir=$warm"
zk_say "GRPO on two workers ($rl)"
zk_mpirun 2 build/zerokl train configs/quickstart.yaml "model.path=$warm/checkpoints/$(ls "$warm/checkpoints" | tail -1)" "run.dir=$rl"
zk_say "verifying every stored bit ($rl)"
zk_mpirun 2 build/zerokl verify "$rl"

# field FILE LINE KEY: the value of a key in one line of metrics.jsonl (0 = first, $ = last)
field() { sed -n "$2p" "$1" | sed -n "s|.*\"$3\": \"\{0,1\}\([^\",}]*\).*|\1|p"; }
last=$(tail -1 "$rl/metrics.jsonl" | sed -n 's|.*"weights/hash": "\([0-9a-f]*\)".*|\1|p')
mismatches=$(sed -n 's|.*"mismatch/tokens": \([0-9]*\).*|\1|p' "$rl/metrics.jsonl" | awk '{n += $1} END {print n + 0}')
tokens=$(sed -n 's|.*"tokens/generated": \([0-9]*\).*|\1|p' "$rl/metrics.jsonl" | awk '{n += $1} END {print n + 0}')
expected=$(sed -n 's|^weights/hash ||p' "$here/expected.txt")
if [ "$last" != "$expected" ]; then
  echo "error: weights/hash $last, expected $expected ($here/expected.txt): this machine's bits differ; run build/zerokl check" >&2
  exit 1
fi
printf 'held-out accuracy before RL %.3f\n' "$(field "$rl/metrics.jsonl" 1 eval/accuracy)"
printf 'held-out accuracy after RL %.3f\n' "$(field "$rl/metrics.jsonl" '$' eval/accuracy)"
echo "mismatch $mismatches of $tokens tokens"
echo "weights/hash $last"
