#!/usr/bin/env bash
# The reference model of a KL term: recorded, audited, the same for any number of workers and after a stop; one that does not fit is refused before sampling.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
tiny_run 2 algorithm.kl.coef=0.05
start=model.path=runs/warm/checkpoints/step_000016
train() { expect 0 "$ZK" train tiny.yaml $start optimizer.lr=0.01 algorithm.kl.coef=0.05 "$@"; }
hashes() { sed -n 's|.*"weights/hash": "\([0-9a-f]*\)".*|\1|p' "runs/$1/metrics.jsonl"; }

# In the loss, the run's first weights: nothing diverges in step 1, something does in step 2.
grep -q '"policy/kl_reference": 0.0' runs/tiny/metrics.jsonl || fail "the first weights diverge from themselves"
sed -n 3p runs/tiny/metrics.jsonl | grep -q '"policy/kl_reference": 0\.0*[1-9]' || fail "nothing diverges after an update"
expect 0 "$ZK" verify runs/tiny --replay
says 'reference_logprob'
expect 0 workers 2 "$ZK" train tiny.yaml $start optimizer.lr=0.01 algorithm.kl.coef=0.05 run.dir=runs/two
same runs/tiny/trajectories/step_000002.h5 runs/two/trajectories/step_000002.h5
train run.dir=runs/resumed run.steps=1
train run.dir=runs/resumed
same runs/tiny/trajectories/step_000002.h5 runs/resumed/trajectories/step_000002.h5
[ "$(hashes tiny)" = "$(hashes resumed)" ] || fail "a run that was stopped has other weights"

# In the reward, another model: other rewards, other weights.
train run.name=reward algorithm.kl.place=reward algorithm.kl.estimator=k1 algorithm.kl.reference=runs/warm/checkpoints/step_000008
grep -q '"reward/penalty": -\{0,1\}0\.[0-9]' runs/reward/metrics.jsonl || fail "no penalty"
[ "$(hashes tiny | tail -1)" != "$(hashes reward | tail -1)" ] || fail "a penalty that changes nothing"
expect 0 "$ZK" verify runs/reward
expect 0 "$ZK" verify runs/reward --sample 2
says 'the reference model is not part of a sample'
expect 0 "$ZK" rollout tiny.yaml $start run.name=rollout run.steps=1 algorithm.kl.coef=0.05 algorithm.kl.place=reward

# Negative control: a flipped bit of the reference's column is found, digests sealed again; so is a reference with other weights.
rm -rf runs/x && cp -r runs/reward runs/x
"$TAMPER" flip runs/x trajectories/step_000001.h5 sample/reference_logprob 3 20
"$TAMPER" reseal runs/x
expect 1 "$ZK" verify runs/x
says 'reference_logprob '
cp -r runs/warm/checkpoints/step_000008 kept
rm -r runs/warm/checkpoints/step_000008
cp -r runs/warm/checkpoints/step_000016 runs/warm/checkpoints/step_000008
expect 1 "$ZK" verify runs/reward
says 'reference/hash'
expect 2 "$ZK" train tiny.yaml $start optimizer.lr=0.01 algorithm.kl.coef=0.05 run.name=reward run.steps=3 algorithm.kl.place=reward \
  algorithm.kl.estimator=k1 algorithm.kl.reference=runs/warm/checkpoints/step_000008
tells 'give it the same model'

# What cannot be a reference is refused before anything is sampled, and the plan counts what can.
refused() {
  expect 2 "$ZK" train tiny.yaml $start run.name=none algorithm.kl.coef=0.05 algorithm.kl.reference="$1"
  tells "algorithm.kl.reference"
  tells "$2"
  [ ! -e runs/none/trajectories ] || [ -z "$(ls runs/none/trajectories)" ] || fail "something was sampled"
}
sed 's/"vocab_size": [0-9]*/"vocab_size": 300/' kept/config.json >c && cp -r kept bigger && cp c bigger/config.json
refused bigger 'a vocabulary of 300'
cp -r kept other && sed 's/"normalizer": *null/"normalizer": {"type": "NFC"}/' kept/tokenizer.json >other/tokenizer.json
cmp -s kept/tokenizer.json other/tokenizer.json && fail "the tokenizer was not changed"
refused other 'its tokenizer is not the policy'
refused nowhere 'nowhere'
expect 0 "$ZK" train tiny.yaml $start algorithm.kl.coef=0.05 --dry-run
says 'reference model'
