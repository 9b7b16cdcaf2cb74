#!/usr/bin/env bash
# label: slow; cost: 70
# numerics: bf16 on a CPU, end to end: training by any number of workers, resuming, checkpoints with fp32 master weights, the audit, faults.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
hashes() { sed -n 's/.*\("weights\/hash".*\)}/\1/p' "$1/metrics.jsonl"; }
alike() { [ "$(hashes "$1")" = "$(hashes "$2")" ] && [ -n "$(hashes "$1")" ] || fail "$3: $1 has $(hashes "$1"), $2 has $(hashes "$2")"; }

tiny_config warm.yaml warm 16
tiny_config tiny.yaml tiny 3
expect 0 "$ZK" sft warm.yaml numerics=bf16 device=cpu checkpoint.every=8
rl="numerics=bf16 device=cpu model.path=runs/warm/checkpoints/step_000016 optimizer.lr=0.01 checkpoint.every=1 checkpoint.keep=0"
# shellcheck disable=SC2086
train() { # DIR ARG...: `train` in this numerics
  local dir=$1
  shift
  expect 0 "$@" "$ZK" train tiny.yaml $rl run.dir="$dir"
}
train one env
[ "$(hashes one | sort -u | wc -l)" = 4 ] || fail "some update changed nothing"
[ "$(grep -c '"mismatch/tokens": 0,' one/metrics.jsonl)" = 3 ] || fail "tokens differ"
train two workers 2
alike one two "two workers"
for step in 0 3; do same one/checkpoints/step_00000$step/model.safetensors two/checkpoints/step_00000$step/model.safetensors; done
same one/trajectories/step_000003.h5 two/trajectories/step_000003.h5

# Master weights keep what bf16 would round away: they are not bf16 numbers, and what is made of them is.
expect 0 "$ZK" export --dtype bf16 one half
expect 0 "$ZK" eval tiny.yaml $rl model.path=half
same_as_working=$(sed -n 's/.*"weights\/hash": "\([0-9a-f]*\)".*/\1/p' out)
grep -q "\"weights/hash\": \"$same_as_working\"" <(tail -1 one/metrics.jsonl) || fail "working weights are not the rounded master weights"
cmp -s half/model.safetensors one/checkpoints/step_000003/model.safetensors && fail "the checkpoint holds no master weights"

# A run that was stopped goes on to the same state; with rounded master weights it would not.
# shellcheck disable=SC2086
expect 0 "$ZK" train tiny.yaml $rl run.dir=stopped run.steps=2
train stopped workers 2
alike one stopped "resumed by two workers"

expect 0 "$ZK" verify one
says ': all equal'
expect 0 workers 2 "$ZK" verify one --sample 4
rm -rf x && cp -r one x
"$TAMPER" flip x checkpoints/step_000002/model.safetensors model.layers.0.mlp.up_proj.weight 17 0 # below what bf16 shows
"$TAMPER" reseal x
expect 1 "$ZK" verify x
says 'checkpoint step 2: model.layers.0.mlp.up_proj.weight element 17: '

for fault in sampler:linear trainer:attention sampler:lmhead_sample trainer:rmsnorm; do
  code=0
  # shellcheck disable=SC2086
  ZK_FAULT=$fault "$ZK_BUILD/zerokl_faulty" train tiny.yaml $rl run.dir=faulty >out 2>err || code=$?
  [ $code = 1 ] || fail "$fault: exit code $code"
  tells 'differ'
  rm -rf faulty
done
echo "bf16: all as it should be"
