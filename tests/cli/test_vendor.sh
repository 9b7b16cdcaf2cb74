#!/usr/bin/env bash
# cost: 30
# numerics: vendor: a run goes through whatever sampler and trainer disagree on, and reports it; the audit says what it cannot mean; where the
# vendor's library is missing, the run is refused by name.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
tiny_config warm.yaml warm 16
tiny_config tiny.yaml tiny 3
vendor="numerics=vendor device=cpu"

# An emulated GPU has no cuBLAS; a machine may have no OpenBLAS.
if [ -x "$ZK_BUILD/zerokl_simt" ]; then
  expect 2 "$ZK_BUILD/zerokl_simt" train tiny.yaml numerics=vendor device=cuda
  tells 'numerics: vendor computes with cuBLAS'
fi
code=0
# shellcheck disable=SC2086
"$ZK" sft warm.yaml $vendor >out 2>err || code=$?
if [ $code = 2 ]; then
  tells 'libopenblas0'
  echo "vendor: no OpenBLAS here; refused as it should be"
  exit 0
fi
[ $code = 0 ] || fail "sft: exit code $code"

# shellcheck disable=SC2086
expect 0 "$ZK" train tiny.yaml $vendor model.path=runs/warm/checkpoints/step_000016 optimizer.lr=0.01
tells 'stops nothing'
for key in tokens max_abs kl_k1 kl_k3; do
  [ "$(grep -c "\"mismatch/$key\": " runs/tiny/metrics.jsonl)" = 3 ] || fail "mismatch/$key is not in every step"
done
# shellcheck disable=SC2086
expect 0 "$ZK" rollout tiny.yaml $vendor model.path=runs/warm/checkpoints/step_000016 run.dir=sampled
says '"mismatch/max_abs": '
# Of one prompt's completions that differ it says how many, also where the sampler alone is a vendor's.
expect 0 "$ZK" rollout --unique --greedy --sequences 40 --batch 1 --batch 40 --min 8 --max 20 tiny.yaml device=cpu rollout.numerics=vendor model.init.hidden=64 \
  model.init.intermediate=128

# Equal or not, the audit says what that is worth; a changed record is found either way.
code=0
"$ZK" verify runs/tiny >out 2>err || code=$?
[ $code = 0 ] || [ $code = 1 ] || fail "verify: exit code $code"
tells 'does not show that anything was altered'
"$TAMPER" flip runs/tiny trajectories/step_000002.h5 sample/reward 3 0
code=0
"$ZK" verify runs/tiny >out 2>err || code=$?
[ $code = 1 ] || fail "verify of a changed reward: exit code $code"
says 'reward'
echo "vendor: all as it should be"
