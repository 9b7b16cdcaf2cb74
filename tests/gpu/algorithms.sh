#!/usr/bin/env bash
# limit: 400
# Every algorithm, and several turns with a program: in f32 the CPU's bits, in bf16 no mismatch, and audits on the GPU that sample, evaluate and update again.
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
long_task algorithms
names=$("$ZK" train --help-config | sed -n '/^What algorithm.name gives/,$p' | sed -n '2,$s|^\([a-z_]*\)$|\1|p')
[ "$(wc -w <<<"$names")" -ge 10 ] || fail "the table of algorithms is not in the help: $names"
names=$(size "$names" "dapo ppo")
steps=$(size 2 1)

# audited RUN: its audit on the GPU finds every value
audited() {
  expect 0 "$ZK" verify "$1" --replay --device cuda
  says 'all equal'
}
for name in $names; do
  train() { expect 0 "$ZK" train algorithms.yaml algorithm.name="$name" run.steps="$steps" checkpoint.every=0 "$@"; }
  for device in cpu cuda; do train device=$device run.dir="$name-$device"; done
  alike "$name-cpu" "$name-cuda" "$name"
  no_mismatch "$name-cuda" "$steps"
  audited "$name-cuda"
  train device=cuda numerics=bf16 run.dir="$name-bf16"
  no_mismatch "$name-bf16" "$steps"
  audited "$name-bf16"
done
# The comparison can fail: another algorithm's run has other bits.
diff <(chain dapo-cpu) <(chain ppo-cuda) >/dev/null && fail "two algorithms, the same bits"

# ---- a calculator that the model may call
mkdir -p runs experiments/calculator
cp "$ZK_SOURCE/experiments/calculator/calculator.sh" experiments/calculator/
sh "$ZK_SOURCE/experiments/calculator/data.sh" 600 >runs/calculator.jsonl
# shellcheck disable=SC2046
expect 0 "$ZK" sft "$ZK_SOURCE/configs/calculator-sft.yaml" device=cpu log.progress=false eval.every=0 \
  $(size '' 'model.init.layers=1 model.init.hidden=32 model.init.heads=2 model.init.kv_heads=1 model.init.intermediate=48')
for device in cpu cuda; do
  expect 0 "$ZK" train "$ZK_SOURCE/configs/calculator.yaml" device=$device run.dir=calculator-$device run.steps="$steps" eval.every=1 eval.prompts="$(size 8 2)" checkpoint.every=0 log.progress=false \
    rollout.prompts_per_step="$(size 16 2)" rollout.samples_per_prompt="$(size 8 2)"
done
alike calculator-cpu calculator-cuda "several turns"
diff -r calculator-cpu/evaluations calculator-cuda/evaluations >diff.out || fail "the evaluations differ"
no_mismatch calculator-cuda "$steps"
rm experiments/calculator/calculator.sh
audited calculator-cuda
echo "algorithms: the CPU's bits"
