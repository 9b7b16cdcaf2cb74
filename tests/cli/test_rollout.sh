#!/usr/bin/env bash
# cost: 30
# `zerokl rollout`: the files that `train` would write with these weights; and --bench's fixed workload.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
lines() { wc -l <"$1"; }

tiny_run 2 # runs/warm and runs/tiny
model="model.path=runs/warm/checkpoints/step_000016 optimizer.lr=0.01"
expect 0 "$ZK" rollout tiny.yaml $model run.dir=sampled
[ "$(lines out)" = 2 ] || fail "not one object a step"
says '"mismatch/tokens": 0'
says '"trajectory": "sampled/trajectories/step_000002.h5"'
same sampled/trajectories/step_000001.h5 runs/tiny/trajectories/step_000001.h5
cmp -s sampled/trajectories/step_000002.h5 runs/tiny/trajectories/step_000002.h5 && fail "step 2 of a run has other weights, yet the same samples"
[ "$(ls sampled/checkpoints)" = "" ] && [ -s sampled/config.yaml ] && [ -s sampled/manifest.jsonl ] || fail "sampled holds $(ls sampled)"
expect 0 "$ZK" inspect sampled/trajectories/step_000001.h5

# Again: sampled anew and compared. In another schedule, by other numbers of workers: the same bytes.
expect 0 "$ZK" rollout tiny.yaml $model run.dir=sampled
tells "the same as in the file that was there"
expect 0 "$ZK" rollout tiny.yaml $model run.dir=other rollout.max_batch=2 rollout.page_tokens=16 rollout.prefill_chunk=1 trainer.microbatch_tokens=16
for n in 2 3; do expect 0 workers $n "$ZK" rollout tiny.yaml $model run.dir=ranks$n; done
for dir in other ranks2 ranks3; do
  for step in 1 2; do same sampled/trajectories/step_00000$step.h5 $dir/trajectories/step_00000$step.h5; done
done
# A file that says something else is not written over, and is an error.
cp runs/tiny/trajectories/step_000002.h5 other/trajectories/step_000002.h5
expect 1 "$ZK" rollout tiny.yaml $model run.dir=other
same other/trajectories/step_000002.h5 runs/tiny/trajectories/step_000002.h5
# Whose folder it is.
expect 2 "$ZK" rollout tiny.yaml $model # runs/tiny
tells "is a training run"
expect 2 "$ZK" rollout tiny.yaml $model run.dir=sampled seed=8
tells "seed"
# Sampler and trainer are compared: a fault on either side stops the step.
for side in sampler trainer; do
  code=0
  ZK_FAULT=$side:linear "$ZK"_faulty rollout tiny.yaml $model run.dir=f_$side >out 2>err || code=$?
  [ $code = 1 ] || fail "a fault in the $side: exit code $code"
  tells "sampler and trainer disagree"
  [ "$(ls f_$side/trajectories)" = "" ] || fail "a step that differs was archived"
done
# Greedy, one sample a prompt.
expect 0 "$ZK" rollout tiny.yaml $model run.dir=greedy run.steps=1 rollout.temperature=0 rollout.samples_per_prompt=1 \
  algorithm.advantage.baseline=none algorithm.advantage.scale=none

# --bench
expect 0 "$ZK" rollout --bench --sequences 7 --min 2 --max 20 tiny.yaml
[ "$(lines out)" = 1 ] || fail "not one object"
generated=$(sed -n 's|.*"tokens/generated": \([0-9]*\).*|\1|p' out)
[ "$generated" -ge 14 ] && [ "$generated" -le 140 ] || fail "$generated tokens were generated"
says '"sequences": 7'
tells "tokens/s generated"
expect 0 workers 2 "$ZK" rollout --bench --sequences 7 --min 2 --max 20 tiny.yaml
says "\"tokens/generated\": $generated,"
[ ! -e runs/tiny/bench ] && [ ! -e runs/bench ] || fail "--bench left files"
expect 2 "$ZK" rollout --bench tiny.yaml # 2 x 1024 tokens
tells "do not fit the model's 64 positions"
expect 2 "$ZK" rollout --bench --sequences 0 tiny.yaml
expect 2 "$ZK" rollout --bench --min 5 --max 4 tiny.yaml
tells "more than --max"

# --unique
expect 0 "$ZK" rollout --unique --sequences 100 --min 8 --max 20 tiny.yaml
[ "$(lines out)" = 10 ] && [ "$(grep -c '"unique": 1[,}]' out)" = 10 ] || fail "not ten batches of one completion each"
says '"batch": 1000'
hash=$(sed -n 's|.*"batch": 64, "temperature": 0.0,.*"completion/hash": "\([0-9a-f]*\)".*|\1|p' out)
expect 0 "$ZK" rollout --unique --sequences 3 --batch 5 --batch 2 --min 8 --max 20 tiny.yaml
[ "$(lines out)" = 4 ] && [ "$(grep -c "\"temperature\": 0.0,.*\"completion/hash\": \"${hash:?}\"" out)" = 2 ] || fail "a batch of its own has another completion"
expect 0 "$ZK" rollout --unique --greedy --prompt abc --sequences 20 --batch 1 --batch 20 --min 8 --max 20 tiny.yaml
[ "$(lines out)" = 2 ] && [ "$(grep -c '"temperature": 0.0, "tokens/prompt": 3, "tokens/completion": 8, "completions": 20, "unique": 1, "unique/texts": 1, "completion' out)" = 2 ] ||
  fail "a text is not one prompt with one completion of rollout.max_new_tokens"
expect 2 "$ZK" rollout --unique --prompt "$(printf '%060d' 7)" --sequences 1 --min 8 --max 20 tiny.yaml
tells "--prompt of 60 tokens and 8 new ones do not fit the model's 64 positions"
expect 2 "$ZK" rollout --bench --prompt abc tiny.yaml
expect 2 "$ZK" rollout --bench --batch 5 tiny.yaml
code=0
ZK_FAULT=sampler:lmhead_sample "$ZK"_faulty rollout --unique --sequences 100 --min 8 --max 20 tiny.yaml >out 2>err || code=$?
[ $code = 1 ] || fail "a fault that depends on a row's place in the batch: exit code $code"
tells "different completions at temperature"
expect 2 workers 2 "$ZK" rollout --unique --sequences 100 --min 8 --max 20 tiny.yaml
tells "for one worker"
echo "rollout: all as it should be"
