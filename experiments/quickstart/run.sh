#!/usr/bin/env bash
# From a bare machine to a verified RL run: installs what is missing, builds, warms a small model up, runs GRPO on two workers,
# verifies every bit. f32 bits are the same everywhere, so the run must end with the hash in expected.txt.
#   ZK_RUNS=DIR puts the run directories elsewhere (default: runs/ in the repository)
#   --cpu      also writes a results file and compares it with expected.json, as the other experiments do; with --record it is kept
#   --break    with --cpu: rewards are permuted among samples, so that they say nothing: the check must fail
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
zk_mpirun 2 build/zerokl train configs/quickstart.yaml "model.path=$warm/checkpoints/$(ls "$warm/checkpoints" | tail -1)" "run.dir=$rl" "${shuffled[@]}"
zk_say "verifying every stored bit ($rl)"
code=0
zk_mpirun 2 build/zerokl verify "$rl" || code=$?
[ $code = 0 ] || [ $# -gt 0 ] || exit $code

# field FILE LINE KEY: the value of a key in one line of metrics.jsonl (0 = first, $ = last)
field() { sed -n "$2p" "$1" | sed -n "s|.*\"$3\": \"\{0,1\}\([^\",}]*\).*|\1|p"; }
last=$(tail -1 "$rl/metrics.jsonl" | sed -n 's|.*"weights/hash": "\([0-9a-f]*\)".*|\1|p')
mismatches=$(sed -n 's|.*"mismatch/tokens": \([0-9]*\).*|\1|p' "$rl/metrics.jsonl" | awk '{n += $1} END {print n + 0}')
tokens=$(sed -n 's|.*"tokens/generated": \([0-9]*\).*|\1|p' "$rl/metrics.jsonl" | awk '{n += $1} END {print n + 0}')
expected=$(sed -n 's|^weights/hash ||p' "$here/expected.txt")
before=$(field "$rl/metrics.jsonl" 1 eval/accuracy) after=$(field "$rl/metrics.jsonl" '$' eval/accuracy)
if [ $# -gt 0 ]; then
  audit=$([ $code = 0 ] && echo "all equal" || echo "exit code $code") code=0
  (
    . "$here/../lib/experiment.sh"
    zk_experiment quickstart "$@"
    zerokl=build/zerokl zk_begun=0 # of all of it
    zk_value "accuracy before" "$before"
    zk_value "accuracy after" "$after"
    zk_value "gain of accuracy" "$(awk -v a="$before" -v b="$after" 'BEGIN { print b - a }')"
    zk_value "mismatched tokens" "$mismatches"
    zk_value tokens "$tokens"
    zk_value verify "$audit"
    zk_value "weights/hash" "$last"
    zk_row "accuracy before RL" "$before" "after" "$after" "mismatched tokens" "$mismatches" "of tokens" "$tokens" verify "$audit" "weights/hash" "$last"
    for line in $(seq 1 "$(grep -c . "$rl/metrics.jsonl")"); do
      accuracy=$(field "$rl/metrics.jsonl" "$line" eval/accuracy)
      [ -z "$accuracy" ] || zk_row table=curve step "$(field "$rl/metrics.jsonl" "$line" step)" "held-out accuracy" "$accuracy"
    done
    zk_finish
  ) >&2 || code=$?
  [ $code = 0 ] || exit $code
fi
if [ "$last" != "$expected" ]; then
  echo "error: weights/hash $last, expected $expected ($here/expected.txt): this machine's bits differ; run build/zerokl check" >&2
  exit 1
fi
printf 'held-out accuracy before RL %.3f\n' "$before"
printf 'held-out accuracy after RL %.3f\n' "$after"
echo "mismatch $mismatches of $tokens tokens"
echo "weights/hash $last"
