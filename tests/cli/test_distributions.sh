#!/usr/bin/env bash
# Every kind of distribution that can be sampled from, through a whole step: no mismatch, an update, and verify agrees.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
tiny_config warm.yaml warm 16
tiny_config tiny.yaml tiny 2
expect 0 "$ZK" sft warm.yaml checkpoint.every=0

n=0
for keys in rollout.temperature=0.7 rollout.top_k=3 rollout.top_p=0.8 "rollout.temperature=1.5 rollout.top_k=40 rollout.top_p=0.9" \
  rollout.temperature=0 "rollout.temperature=0 rollout.top_k=3" "rollout.temperature=0 rollout.top_p=0.5"; do
  n=$((n + 1))
  # shellcheck disable=SC2086
  expect 0 "$ZK" train tiny.yaml run.name=d$n model.path=runs/warm/checkpoints/step_000016 algorithm.advantage.baseline=none $keys
  [ "$(grep -c '"mismatch/tokens": 0, ' runs/d$n/metrics.jsonl)" -eq 2 ] || fail "$keys: mismatches"
  [ "$(grep -c '"policy/ratio_max": 1[.0]*, ' runs/d$n/metrics.jsonl)" -eq 2 ] || fail "$keys: a ratio that is not 1"
  expect 0 "$ZK" verify runs/d$n
done

# Negative control: the distribution is part of what is sampled, so that these runs are not all one.
[ "$(sed -sn '2s|.*"weights/hash": "\([0-9a-f]*\)".*|\1|p' runs/d[1-4]/metrics.jsonl | sort -u | wc -l)" -gt 1 ] || fail "the distribution changes nothing"
