#!/usr/bin/env bash
# limit: 500
# bf16 on the GPU: pages, prefill chunks, batches, guesses, prefix cache, microbatches, recomputed activations, memory in turns, preemption and two workers on one GPU change no bit.
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
long_task plan
steps=$(size 2 1)
# train RUN KEY=VALUE...: stderr, in `err`, says everything
train() {
  local run=$1
  shift
  ZK_LOG=debug expect 0 "$ZK" train plan.yaml numerics=bf16 device=cuda run.steps="$steps" checkpoint.every=0 run.dir="$run" "$@"
}
train reference
moves reference
i=0
changes=(rollout.page_tokens=16 rollout.page_tokens=128 rollout.max_batch=1 rollout.max_batch=3 rollout.prefill_chunk=5 rollout.prefill_chunk=1000
  rollout.speculate=5 rollout.prefix_cache=false trainer.recompute=true "trainer.turns=always eval.every=1 eval.prompts=3")
[ -z "$EMULATED" ] || changes=(rollout.page_tokens=16 rollout.max_batch=3 rollout.prefill_chunk=5 rollout.speculate=5 trainer.recompute=true trainer.turns=always)
for change in "${changes[@]}"; do
  i=$((i + 1))
  # shellcheck disable=SC2086
  train change$i $change
  alike reference change$i "$change"
done
expect 0 workers 2 "$ZK" train plan.yaml numerics=bf16 device=cuda:0 run.steps="$steps" checkpoint.every=0 run.dir=two
alike reference two "two workers"

# Long answers in a cache of little more than one sequence. A page of 16 tokens takes 2 layers x 2 (k, v) x 2 heads x 16 x 16 tokens x 2 bytes = 4 KiB.
long="rollout.ignore_eos=true rollout.max_new_tokens=24"
# shellcheck disable=SC2086
{
  train roomy $long
  train tight $long rollout.page_tokens=16 rollout.kv_bytes="$(size 84 48)KiB"
}
grep -q 'preemptions [1-9]' err || fail "nothing was preempted"
alike roomy tight "preemption"

# Microbatches of one, two and four chunks.
if [ -z "$EMULATED" ]; then
  many="rollout.prompts_per_step=24 rollout.samples_per_prompt=8 trainer.grad_leaves=2"
  for tokens in 4096 8192 16384; do
    # shellcheck disable=SC2086
    train micro$tokens $many trainer.microbatch_tokens=$tokens
    alike micro4096 micro$tokens "microbatches of $tokens tokens"
  done
fi
train seed seed=4
diff <(chain reference) <(chain seed) >/dev/null && fail "another seed gives the same bits"
echo "schedule: the same bits"
