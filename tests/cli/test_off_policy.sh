#!/usr/bin/env bash
# cost: 50
# rollout.numerics, rollout.weight_bits: a sampler that computes in other numerics than the trainer, or with coarser weights, is a control experiment. Mismatches are counted and stop nothing; log,
# archive and audit say what the run is; its record is audited like any other, and a changed value found; without the key nothing is different.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
tiny_config warm.yaml warm 16
tiny_config tiny.yaml tiny 4
expect 0 "$ZK" sft warm.yaml
model=model.path=runs/warm/checkpoints/step_000016
train() { expect 0 "$ZK" train tiny.yaml "$model" optimizer.lr=0.01 device=cpu "$@"; }
mismatches() { sed -n 's|.*"mismatch/tokens": \([0-9]*\).*|\1|p' "runs/$1/metrics.jsonl" | awk '{ n += $1 } END { print n + 0 }'; }
hash() { tail -1 "runs/$1/metrics.jsonl" | sed -n 's|.*"weights/hash": "\([0-9a-f]*\)".*|\1|p'; }

# The control of the control: the run without the key.
train run.name=equal
[ "$(mismatches equal)" = 0 ] || fail "a run without rollout.numerics has mismatches"
! grep -q 'numerics: bf16\|off-policy' runs/equal/config.yaml err || fail "it speaks of another sampler"

train run.name=half rollout.numerics=bf16
tells 'an off-policy control'
[ "$(mismatches half)" -gt 0 ] || fail "bf16 and f32 do not differ"
[ "$(hash half)" != "$(hash equal)" ] || fail "the sampler's numerics changed nothing"
# What the weights of each step are worth to the sampler: stale ones, of an earlier step, would be much further away than rounding.
sed -n 's|.*"mismatch/max_abs": \([^,}]*\).*|\1|p' runs/half/metrics.jsonl | awk '$1 > 0.3 { exit 1 }' || fail "sampler and trainer are further apart than rounding"

expect 0 "$ZK" inspect runs/half/trajectories/step_000001.h5
says 'f32, sampled in bf16'
expect 0 "$ZK" report runs/half runs/equal
grep -qF ">f32, sampled in bf16<" report/index.html || fail "the report's table does not say it"
expect 0 "$ZK" verify runs/half --replay --json=audit.json
says 'off-policy (f32, sampled in bf16):'
! grep -q '^logits_hash' out || fail "the audit compares logits that differ by design"
grep -qF '"off_policy": "f32, sampled in bf16"' audit.json || fail "the audit's JSON does not say it"
expect 0 "$ZK" verify runs/equal
says 'logits_hash'
! grep -q 'off-policy' out || fail "the audit calls an ordinary run off-policy"

# Coarser weights: the same numerics, further apart, and audited likewise.
train run.name=coarse rollout.weight_bits=3
tells 'f32, sampled in f32 of 3-bit weights: an off-policy control'
[ "$(mismatches coarse)" -gt 0 ] || fail "weights of 3 bits and of 23 do not differ"
apart() { sed -n 's|.*"mismatch/max_abs": \([^,}]*\).*|\1|p' "runs/$1/metrics.jsonl" | head -1; }
awk -v half="$(apart half)" -v coarse="$(apart coarse)" 'BEGIN { exit !(coarse > 2 * half) }' || fail "3 bits are no further from f32 than bf16's 7"
expect 0 "$ZK" verify runs/coarse --replay
says 'off-policy (f32, sampled in f32 of 3-bit weights):'
sed -i 's/weight_bits: 3/weight_bits: 4/' runs/coarse/config.yaml
expect 1 "$ZK" verify runs/coarse --replay
rm -r runs/coarse

# A resume, on other workers: the same run.
train run.name=half run.dir=runs/parts rollout.numerics=bf16 run.steps=2
expect 0 workers 2 "$ZK" train tiny.yaml "$model" optimizer.lr=0.01 device=cpu run.name=half run.dir=runs/parts rollout.numerics=bf16
same runs/parts/trajectories/step_000004.h5 runs/half/trajectories/step_000004.h5
[ "$(hash parts)" = "$(hash half)" ] || fail "a resumed run is another run"
expect 2 "$ZK" train tiny.yaml "$model" optimizer.lr=0.01 device=cpu run.name=half run.dir=runs/parts run.steps=5
tells 'rollout.numerics'

# Where the loss knows nothing of the sampler, an importance weight for each token makes another run of it.
train run.name=plain rollout.numerics=bf16 algorithm.ratio=none algorithm.clip=none
train run.name=tis rollout.numerics=bf16 algorithm.ratio=none algorithm.clip=none algorithm.importance.mode=truncate
[ "$(hash tis)" != "$(hash plain)" ] || fail "importance weights changed nothing"

# A changed value of either side, with all digests made again, is found.
for column in sampler_logprob trainer_logprob; do
  cp -r runs/half runs/tampered
  "$TAMPER" flip runs/tampered trajectories/step_000002.h5 "sample/$column" 3 0
  "$TAMPER" reseal runs/tampered
  expect 1 "$ZK" verify runs/tampered
  says "$column"
  rm -r runs/tampered
done

expect 0 "$ZK" train tiny.yaml rollout.numerics=bf16 device=cpu --dry-run
says 'weights of the sampler, a control'
expect 2 "$ZK" train tiny.yaml rollout.numerics=f32 device=cpu
tells 'the trainer computes in these too'
echo "off policy: all as it should be"
