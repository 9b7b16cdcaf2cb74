#!/usr/bin/env bash
# Sequences that go wrong do so alone: their reason is in the record, and the others have the bits they have without them.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

# pool NAME LENGTH: 9 training prompts and a held-out one, two of them (rows 2 and 6) LENGTH letters long. The context is 64 tokens.
pool() {
  local i n letters
  for i in 0 1 2 3 4 5 6 7 8 9; do
    n=5
    case $i in 2 | 6) n=$2 ;; esac
    letters=$(printf "%${n}s" "" | tr ' ' "$(printf "\\$(printf %o $((97 + i)))")")
    echo "{\"prompt\": \"$letters\", \"label\": \"$i\"}"
  done >"$1.jsonl"
}
config() { # config NAME
  cat >"$1.yaml" <<EOF
seed: 7
run: {name: $1, steps: 2}
model:
  init: {architecture: llama, layers: 2, hidden: 32, heads: 4, kv_heads: 2, intermediate: 64, max_positions: 64}
task: {name: jsonl, path: $1.jsonl, heldout: 1}
rollout: {prompts_per_step: 9, samples_per_prompt: 2, max_new_tokens: 8, stop: [this never comes]}
optimizer: {lr: 0.01, weight_decay: 0.1}
checkpoint: {every: 1}
log: {progress: false}
EOF
}

pool long 80
config long
expect 0 "$ZK" rollout long.yaml run.dir=sampled
tells "4 of 18 samples have a prompt that does not fit"
tells "leaves room for 1 to 63"
says '"response/errors": 4'
says '"mismatch/tokens": 0'
file=sampled/trajectories/step_000001.h5
expect 0 "$ZK" inspect $file
says 'prompt  4'
says 'length  14' # what a stop text that never comes ends as
expect 0 "$ZK" rollout long.yaml run.dir=other rollout.max_batch=2 rollout.speculate=3 rollout.page_tokens=16
same $file other/trajectories/step_000001.h5
expect 0 workers 2 "$ZK" rollout long.yaml run.dir=ranks
same $file ranks/trajectories/step_000001.h5

# Trained on, whatever the microbatch; audited to the last bit.
expect 0 "$ZK" train long.yaml
expect 0 "$ZK" train long.yaml run.dir=small trainer.microbatch_tokens=16
for step in 1 2; do same runs/long/trajectories/step_00000$step.h5 small/trajectories/step_00000$step.h5; done
same <(grep -o '"weights/hash": "[^"]*"' runs/long/metrics.jsonl) <(grep -o '"weights/hash": "[^"]*"' small/metrics.jsonl)
expect 0 "$ZK" verify runs/long --replay
# Nothing but such prompts is nothing to train on.
sed -i 's/"prompt": "\([a-z]\)[a-z]*"/"prompt": "\1'"$(printf '%080d' 0)"'"/' long.jsonl
expect 2 "$ZK" train long.yaml run.dir=none
tells "no prompt leaves room for a token in the model's context of 64"

# Weights that grow a million times a step are soon no numbers: training stops, says where it began, and keeps what it has.
tiny_config wild.yaml wild 12
expect 1 "$ZK" train wild.yaml optimizer.lr=1e3 optimizer.weight_decay=1e3 eval.every=0
tells "the logits are not finite, first in the embedding; nothing was updated"
expect 0 "$ZK" verify runs/wild
echo "bad sequences: all as it should be"
