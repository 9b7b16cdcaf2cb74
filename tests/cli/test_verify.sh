#!/usr/bin/env bash
# cost: 90
# verify: an honest run passes in every way of asking; a bit flipped anywhere is found and named, whether digests are stale or sealed again.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
tiny_run 4

# ---- an honest run
expect 0 "$ZK" verify runs/tiny --replay
says 'steps                               4 of 4          0  -'
says ': all equal'
cp out alone
expect 0 workers 2 "$ZK" verify runs/tiny --replay
same out alone
expect 0 "$ZK" verify runs/tiny --json=report.json
[ "$(grep -c '"differing": 0' report.json)" -ge 14 ] || fail "report.json"
expect 0 "$ZK" verify runs/warm --replay
says 'verify: 16 steps, '
expect 0 "$ZK" verify runs/tiny --steps 3:4
says 'verify: 2 steps, '
expect 0 "$ZK" verify runs/tiny --steps 2
says 'verify: 1 step, '
expect 2 "$ZK" verify runs/tiny --steps 3:5
expect 2 "$ZK" verify runs/tiny --steps 3:1
expect 2 "$ZK" verify runs/none
tells 'runs/none: no such run directory'
expect 2 "$ZK" verify

# A sampler with filters and stop texts, greedy decoding, rewards that are shuffled.
"$ZK" train tiny.yaml run.name=other run.steps=2 model.path=runs/warm/checkpoints/step_000016 rollout.top_k=30 rollout.top_p=0.95 \
  rollout.temperature=1.2 'rollout.stop=[a,e,i]' task.shuffle_rewards=true algorithm.name=reinforce 2>err || fail "train"
expect 0 "$ZK" verify runs/other --replay
"$ZK" train tiny.yaml run.name=greedy run.steps=1 model.path=runs/warm/checkpoints/step_000016 rollout.temperature=0 2>err || fail "train"
expect 0 "$ZK" verify runs/greedy --replay

# ---- one flipped bit
run=tiny
honest() { rm -rf runs/x && cp -r "runs/$run" runs/x; }
# caught TEXT: verify says where, and exits with 1.
caught() {
  expect 1 "$ZK" verify runs/x
  says "$1"
}
# flip TEXT FILE NAME INDEX BIT: twice, with digests left stale (which they must show too) and with all sealed again (which they must not).
flip() {
  local text=$1
  shift
  honest
  "$TAMPER" flip runs/x "$@"
  caught "$text"
  grep -q '^digests .* 0  -$' out && fail "digests do not show that $1 was altered"
  "$TAMPER" reseal runs/x
  caught "$text"
  grep -q '^digests .* 0  -$' out || fail "resealing $1 left a digest stale"
}

h5=trajectories/step_000003.h5 # its sample 7 is sample 2 of its second prompt
place='step 3, prompt 13, sample 2'
token=$(($(element_of runs/tiny/$h5 sample/offsets 8) - 1)) # the last of the completion
position=$((token - $(element_of runs/tiny/$h5 sample/offsets 7)))
flip "$place, position $position: token " $h5 sample/tokens $token 1
flip "$place, position $position: token " $h5 sample/tokens $token 20 # no such token
flip "$place, position $position: sampler_logprob " $h5 sample/sampler_logprob $token 0
flip "$place, position $position: sampler_logprob " $h5 sample/sampler_logprob $token 30 # a ratio beyond all numbers
flip "$place, position $position: trainer_logprob " $h5 sample/trainer_logprob $token 0
flip "$place: reward " $h5 sample/reward 7 23
flip "$place: partial " $h5 sample/reward_component 15 2
flip "$place: advantage " $h5 sample/advantage 7 0
flip "$place: finish_reason " $h5 sample/finish_reason 7 1
prompt=$(element_of runs/tiny/$h5 prompt/offsets 1)
flip 'step 3, prompt 13, position 0: token ' $h5 prompt/tokens "$prompt" 1
flip 'step 3, prompt row 1: prompt id 12 is stored' $h5 prompt/id 1 0

weights=model.layers.0.mlp.up_proj.weight
for step in 0 2 4; do
  flip "checkpoint step $step: $weights element 17: " checkpoints/step_00000$step/model.safetensors $weights 17 0
done
for step in 0 4; do
  optimizer=checkpoints/step_00000$step/optimizer.h5
  flip "checkpoint step $step: model.embed_tokens.weight element 10$step (exp_avg): " $optimizer exp_avg 10$step 0
  flip "checkpoint step $step: model.embed_tokens.weight element 101 (exp_avg_sq): " $optimizer exp_avg_sq 101 0
done
# A weight that is not a number is refused by the reader, by name.
honest
"$TAMPER" flip runs/x checkpoints/step_000002/model.safetensors model.norm.weight 3 30
caught 'model.norm.weight'

run=warm # of sft: no trajectories
flip 'checkpoint step 8: model.norm.weight element 3: ' checkpoints/step_000008/model.safetensors model.norm.weight 3 0
flip 'checkpoint step 16: model.embed_tokens.weight element 100 (exp_avg): ' checkpoints/step_000016/optimizer.h5 exp_avg 100 0
run=tiny

# Texts: alter SED FILE, stale and sealed.
alter() {
  local text=$1
  honest
  sed -i "$2" "runs/x/$3"
  ! cmp -s "runs/x/$3" "runs/$run/$3" || fail "$3 was not altered"
  caught "$text"
  "$TAMPER" reseal runs/x
  caught "$text"
}
other_digit='y/0123456789abcdef/1032547698badcfe/'
alter 'step 2 has no weights/hash of 16 hex digits' "/\"step\": 2,/s/\(.*weights.hash\": \"\).\(.*\)/\1x\2/" metrics.jsonl
hash=$(sed -n 's/.*"weights.hash": "\([0-9a-f]*\)".*/\1/p' runs/tiny/metrics.jsonl | sed -n 3p)
wrong=$(sed "$other_digit" <<<"$hash")
alter "step 2: weights/hash is $wrong in metrics.jsonl, $hash comes out" "s/$hash/$wrong/" metrics.jsonl
alter 'step 3: policy/grad_norm is ' '/"step": 3,/s/\("policy.grad_norm": 0.\)/\11/' metrics.jsonl
alter 'step 1: mismatch/tokens is 3 in metrics.jsonl, 0 comes out' '/"step": 1,/s/\("mismatch.tokens": \)0/\13/' metrics.jsonl
alter "checkpoint step 2: state.json says weights/hash $wrong" "s/$hash/$wrong/" checkpoints/step_000002/state.json
alter 'checkpoint step 4: config.json is not the model' 's/10000/20000/' checkpoints/step_000004/config.json
alter 'attribute config: optimizer.lr: ' 's/lr: 0.01/lr: 0.02/' config.yaml
alter 'attribute seed is 0000000000000007, the config' 's/^seed: 7/seed: 8/' config.yaml

honest
sed -i '/"step": 2,/s/\("eval.accuracy": \)[0-9.]*/\10.25/' runs/x/metrics.jsonl
expect 1 "$ZK" verify runs/x --replay
says 'step 2: eval/accuracy is 0.25 in metrics.jsonl, '

# ---- one operation whose order of sums is another, on either side: each side is really computed, and apart from the other
# faulty FAULT RUN CHECK: verify with that fault finds a difference of kind CHECK.
faulty() {
  expect 1 env ZK_FAULT="$1" "$ZK_BUILD/zerokl_faulty" verify "$2"
  grep -q "^$3 .*  step [1-4]" out || fail "$1 leaves $3 alone"
}
faulty sampler:attention runs/tiny logits_hash
faulty sampler:lmhead_sample runs/tiny sampler_logprob
faulty trainer:linear runs/tiny trainer_logprob
faulty trainer:linear_backward_weight runs/tiny update
grep -q '^trainer_logprob .* 0  -$' out || fail "a backward pass changed a log-probability"
faulty trainer:adamw runs/warm update

# What comes after a step whose update went astray is checked from the next checkpoint on, and not before.
honest
"$TAMPER" flip runs/x trajectories/step_000001.h5 sample/advantage 0 30
caught 'step 1, prompt 0, sample 0: advantage 2 (0x40000000) is stored, 0 (0x00000000) comes out'
says 'step 1: weights/hash is '
says 'not checked: step 2: the weights before it are not known'
says 'verify: 3 steps, '

# Workers find the same first difference.
cp out alone
expect 1 workers 2 "$ZK" verify runs/x
same out alone

# ---- things that are not there
# A run killed after the trajectory of its last step: what there is, is whole.
honest
rm -r runs/x/checkpoints/step_000004
sed -i '$d' runs/x/metrics.jsonl
sed -i '/checkpoints.step_000004/d' runs/x/manifest.jsonl
expect 0 "$ZK" verify runs/x
says 'verify: 4 steps, '
honest
sed -i '$d' runs/x/metrics.jsonl
expect 2 "$ZK" verify runs/x
says 'not checked: metrics.jsonl has no line for step 4'
honest
rm runs/x/trajectories/step_000003.h5
expect 2 "$ZK" verify runs/x
says 'not checked: step 3: its trajectory is missing'
says 'nothing differs, but not everything could be checked'
expect 0 "$ZK" verify runs/x --partial
expect 0 "$ZK" verify runs/x --steps 1:2
expect 0 "$ZK" verify runs/tiny --partial
truncate -s 100 runs/x/trajectories/step_000002.h5
expect 1 "$ZK" verify runs/x --partial
honest
rm -r runs/x/checkpoints/step_000002
expect 2 "$ZK" verify runs/x
honest
rm runs/x/metrics.jsonl
expect 2 "$ZK" verify runs/x
honest
rm runs/x/manifest.jsonl
expect 2 "$ZK" verify runs/x

# The model that the run began with is elsewhere: its weights are taken from checkpoint 0.
mv runs/warm runs/away
expect 0 "$ZK" verify runs/tiny
tells 'model.path runs/warm/checkpoints/step_000016 is not here'
