#!/usr/bin/env bash
# From a bare machine to a verified RL run: installs what is missing, builds, warms a small model up, runs GRPO on two workers,
# verifies every bit. f32 bits are the same everywhere, so the run must end with the hash in expected.txt.
#   ZK_RUNS=DIR puts the run directories elsewhere (default: runs/ in the repository)
#   --cpu      does it in a fresh folder, writes a results file and compares it with expected.json, as the other experiments do; --record keeps it
#   --break    the same with rewards permuted among samples, so that they say nothing: the check must fail
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib/experiment.sh"
zk_help "$@"
cd "$ZK_ROOT"
here=experiments/quickstart runs=${ZK_RUNS:-runs} form=cpu keys=() warm_config=configs/quickstart-sft.yaml
if [ $# = 0 ]; then
  zk_packages build
  zk_build -DZK_BUILD_TESTS=OFF
  zerokl=build/zerokl
else
  zk_experiment quickstart "$@"
  zk_program
  [ -z "$breaks" ] || keys+=(task.shuffle_rewards=true)
fi
if [ "$form" = tiny ]; then # another model, which learns in a second; rewards that say nothing move its accuracy by 0.2 either way, with this seed down
  export OMP_NUM_THREADS=1
  warm_config=experiments/lib/warm.yaml
  keys+=(task.min_length=1 task.max_length=2 task.heldout=100 rollout.max_new_tokens=8 rollout.prompts_per_step=32 optimizer.lr=2.0e-4
    optimizer.warmup_steps=0 run.steps=8 seed=8)
fi

warm=$runs/quickstart-sft
rl=$runs/quickstart
zk_say "supervised warm-up of a model made from scratch ($warm)"
zk_mpirun 2 "$zerokl" sft "$warm_config" "run.dir=$warm"
zk_say "GRPO on two workers ($rl)"
zk_mpirun 2 "$zerokl" train configs/quickstart.yaml "model.path=$(printf '%s\n' "$warm"/checkpoints/step_* | tail -1)" "run.dir=$rl" "${keys[@]}"
zk_say "verifying every stored bit ($rl)"
code=0
zk_mpirun 2 "$zerokl" verify "$rl" || code=$?

# field LINE KEY: the value of a key in one line of metrics.jsonl (1 = before step 1, $ = last)
field() { sed -n "$1p" "$rl/metrics.jsonl" | sed -n "s|.*\"$2\": \"\{0,1\}\([^\",}]*\).*|\1|p"; }
before=$(field 1 eval/accuracy) after=$(field '$' eval/accuracy) last=$(last_hash "$rl") mismatches=$(total "$rl" mismatch/tokens) tokens=$(total "$rl" tokens/generated)

if [ $# != 0 ]; then
  audit=$([ $code = 0 ] && echo "all equal" || echo "exit code $code")
  zk_value "accuracy before" "$before"
  zk_value "accuracy after" "$after"
  zk_value "gain of accuracy" "$(awk -v a="$before" -v b="$after" 'BEGIN { print b - a }')"
  zk_value "mismatched tokens" "$mismatches"
  zk_value tokens "$tokens"
  zk_value verify "$audit"
  zk_value "weights/hash" "$last"
  zk_row "accuracy before RL" "$before" "after" "$after" "mismatched tokens" "$mismatches" "of tokens" "$tokens" verify "$audit" "weights/hash" "$last"
  for line in $(seq 1 "$(grep -c . "$rl/metrics.jsonl")"); do
    accuracy=$(field "$line" eval/accuracy)
    [ -z "$accuracy" ] || zk_row table=curve step "$(field "$line" step)" "held-out accuracy" "$accuracy"
  done
  zk_finish
fi

[ $code = 0 ] || exit $code
expected=$(sed -n 's|^weights/hash ||p' "$here/expected.txt")
if [ "$last" != "$expected" ]; then
  echo "error: weights/hash $last, expected $expected ($here/expected.txt): this machine's bits differ; run build/zerokl check" >&2
  exit 1
fi
printf 'held-out accuracy before RL %.3f\n' "$before"
printf 'held-out accuracy after RL %.3f\n' "$after"
echo "mismatch $mismatches of $tokens tokens"
echo "weights/hash $last"
