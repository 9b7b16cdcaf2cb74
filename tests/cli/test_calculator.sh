#!/usr/bin/env bash
# cost: 100
# Several turns: a calculator that the model may call. It trains; the bits are the same for any number of workers, any schedule and after a resume; the audit replays it
# from recorded replies with the program absent, and finds what was altered.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
mkdir -p runs experiments/calculator
cp "$ZK_SOURCE/experiments/calculator/calculator.sh" experiments/calculator/
sh "$ZK_SOURCE/experiments/calculator/data.sh" 1000 >runs/calculator.jsonl
expect 0 "$ZK" sft "$ZK_SOURCE/configs/calculator-sft.yaml" log.progress=false
train="$ZK_SOURCE/configs/calculator.yaml"
short="run.steps=4 eval.every=2 eval.prompts=5 eval.samples=2 checkpoint.every=2 rollout.prompts_per_step=6 rollout.samples_per_prompt=4 log.progress=false"
accuracy() { sed -n "$1s|.*\"eval/accuracy\": \([^,}]*\).*|\1|p" runs/learns/metrics.jsonl; }

expect 0 "$ZK" train "$train" run.name=learns run.steps=20 eval.every=20 checkpoint.every=0 log.progress=false
awk -v a="$(accuracy 1)" -v b="$(accuracy '$')" 'BEGIN { exit !(a > 0.2 && b > a + 0.02) }' || fail "accuracy $(accuracy 1), then $(accuracy '$')"
grep -q '"mismatch/tokens": [1-9]' runs/learns/metrics.jsonl && fail "mismatches"

# ---- one run, in several ways
expect 0 "$ZK" train "$train" $short
hash=$(tail -1 runs/calculator/metrics.jsonl | grep -o '"weights/hash.*')
again() { # NAME COMMAND...
  local dir=runs/$1
  shift
  expect 0 "$@" "run.dir=$dir"
  for step in 1 2 3 4; do same "runs/calculator/trajectories/step_00000$step.h5" "$dir/trajectories/step_00000$step.h5"; done
  diff -r runs/calculator/evaluations "$dir/evaluations" >out || fail "$dir: other evaluations"
  [ "$(tail -1 "$dir/metrics.jsonl" | grep -o '"weights/hash.*')" = "$hash" ] || fail "$dir: another hash"
}
for n in 2 3; do again "n$n" workers $n "$ZK" train "$train" $short command.processes=3; done
again pages "$ZK" train "$train" $short rollout.prefix_cache=false rollout.page_tokens=32 rollout.max_batch=3 rollout.prefill_chunk=3 trainer.microbatch_tokens=64
again guesses "$ZK" train "$train" $short rollout.speculate=3 trainer.recompute=true
expect 0 "$ZK" train "$train" $short run.steps=2 run.dir=runs/resumed
again resumed workers 2 "$ZK" train "$train" $short
h5dump -d sample/loss_mask -y -w 0 -A 0 runs/calculator/trajectories/step_000001.h5 | grep -q '1, 1, 0, 0' || fail "no replies"
# What the calculator said is no part of what the policy is counted for.
number() { tail -1 runs/calculator/metrics.jsonl | sed "s|.*\"$1\": \([^,}]*\).*|\1|"; }
awk -v mean="$(number response/length_mean)" -v sampled="$(number tokens/generated)" 'BEGIN { d = mean * 24 - sampled; exit !(d * d < 1e-6) }' ||
  fail "response/length_mean $(number response/length_mean) of 24 samples, tokens/generated $(number tokens/generated)"
cmp -s <("$ZK" train "$train" $short run.dir=runs/mute command.turns=1 command.run= 2>/dev/null; h5dump -d sample/tokens -y -w 0 -A 0 runs/mute/trajectories/step_000001.h5) \
  <(h5dump -d sample/tokens -y -w 0 -A 0 runs/calculator/trajectories/step_000001.h5) && fail "replies change nothing"

# A killed run's evaluation takes what the program said from disk: here it is another program, which would give other replies.
cp -r runs/calculator runs/killed
rm -r runs/killed/checkpoints/step_000004
sed -i '$d' runs/killed/metrics.jsonl
cp experiments/calculator/calculator.sh kept.sh
sed -i 's/"reply": "%s/"reply": "7%s/' experiments/calculator/calculator.sh
again killed "$ZK" train "$train" $short
tells 'evaluation after step 4: rewards and replies of command.run are those that runs/killed/evaluations/step_000004_sampled_5x2.h5 holds'
expect 0 "$ZK" train "$train" $short run.dir=runs/other
diff -r runs/calculator/evaluations runs/other/evaluations >out && fail "another program evaluates alike"
mv kept.sh experiments/calculator/calculator.sh

expect 2 "$ZK" train "$train" $short run.dir=runs/never rollout.stop=[]
tells 'no reply could ever come'

# ---- the audit
rm experiments/calculator/calculator.sh
expect 0 "$ZK" verify runs/calculator --replay
tells 'taken as they were recorded'
says 'steps                               4 of 4          0  -'
[ "$(ls runs/calculator/evaluations | wc -l)" = 6 ] || fail "not two files for each of three evaluations"
expect 0 workers 2 "$ZK" verify runs/n3 --replay
reply=$(h5dump -d sample/loss_mask -y -w 1 -A 0 runs/calculator/trajectories/step_000003.h5 | sed -n '/DATA {/,$p' | grep -n '^ *0' | head -1 | cut -d: -f1)
first=$((reply - 2)) # the first token of the first reply
caught() { # TEXT DATASET INDEX BIT
  rm -rf runs/x && cp -r runs/calculator runs/x
  "$TAMPER" flip runs/x trajectories/step_000003.h5 "$2" "$3" "$4"
  "$TAMPER" reseal runs/x
  expect 1 "$ZK" verify runs/x
  says "$1"
}
caught 'loss_mask says that a reply begins, where none can' sample/loss_mask $((first - 1)) 0 # a sampled token as a reply
caught 'the random numbers draw' sample/loss_mask "$first" 0                                  # and the other way round
caught 'sampler_logprob' sample/tokens "$first" 0                                             # another reply was given
caught 'is stored, the reply gives 0' sample/sampler_logprob "$first" 3
# The same of what the program said in an evaluation.
held() { # TEXT FILE DATASET INDEX BIT
  rm -rf runs/x && cp -r runs/calculator runs/x
  "$TAMPER" flip runs/x "evaluations/$2" "$3" "$4" "$5"
  "$TAMPER" reseal runs/x
  expect 1 "$ZK" verify runs/x --replay
  says "$1"
}
greedy=step_000002_greedy_5.h5
reply=$(h5dump -d sample/loss_mask -y -w 1 -A 0 "runs/calculator/evaluations/$greedy" | sed -n '/DATA {/,$p' | grep -n '^ *0' | head -1 | cut -d: -f1)
held 'is stored, sampling gives' $greedy sample/tokens $((reply - 2)) 0
held 'evaluation after step 2: sample/reward, element 1: ' $greedy sample/reward 1 22
held 'evaluation after step 2: prompt/id, element 1: ' $greedy prompt/id 1 0
held 'evaluation after step 0: sample/trainer_logprob, element 3: ' step_000000_sampled_5x2.h5 sample/trainer_logprob 3 24
rm -rf runs/x && cp -r runs/calculator runs/x
rm runs/x/evaluations/step_000004_sampled_5x2.h5
expect 2 "$ZK" verify runs/x --replay
says 'step_000004_sampled_5x2.h5'
expect 0 "$ZK" inspect runs/calculator/evaluations/$greedy
says 'an environment'
