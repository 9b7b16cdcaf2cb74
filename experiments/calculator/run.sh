#!/usr/bin/env bash
# A model learns to call a calculator: warm-up on dialogues, GRPO over two turns on two workers, and an audit that takes every reply from the archive
# and runs no program. Ends with the accuracy before and after.
#   ZK_RUNS=DIR puts the run directories elsewhere (default: runs/ in the repository)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib/packages.sh"
zk_help "$@"
cd "$ZK_ROOT"
here=experiments/calculator
runs=${ZK_RUNS:-runs}
warm=$runs/calculator-sft
rl=$runs/calculator

zk_packages build
zk_build -DZK_BUILD_TESTS=OFF
mkdir -p "$runs"
sh $here/data.sh >"$runs/calculator.jsonl"
zk_say "supervised warm-up of a model made from scratch ($warm)"
zk_mpirun 2 build/zerokl sft configs/calculator-sft.yaml "run.dir=$warm" "task.path=$runs/calculator.jsonl"
zk_say "GRPO with a calculator on two workers ($rl)"
zk_mpirun 2 build/zerokl train configs/calculator.yaml "run.dir=$rl" "task.path=$runs/calculator.jsonl" "model.path=$warm/checkpoints/step_000150"
zk_say "verifying every stored bit, with the replies that were recorded ($rl)"
build/zerokl verify "$rl" --replay

# field LINE KEY: a value of metrics.jsonl (1: before the first step, $: the last)
field() { sed -n "$1p" "$rl/metrics.jsonl" | sed -n "s|.*\"$2\": \([^,}]*\).*|\1|p"; }
before=$(field 1 eval/accuracy) after=$(field '$' eval/accuracy)
printf 'held-out accuracy before RL %.3f\n' "$before"
printf 'held-out accuracy after RL %.3f\n' "$after"
awk -v a="$before" -v b="$after" 'BEGIN { exit !(b > a + 0.1) }' || { echo "error: it has not learnt to call the calculator" >&2; exit 1; }
