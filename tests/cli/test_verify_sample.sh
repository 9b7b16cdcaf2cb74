#!/usr/bin/env bash
# verify --sample: tokens of a few sequences at stored weights, everything that needs no model, no updates; what differs is still found.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
tiny_run 4 # checkpoints 0, 2 and 4: steps 1 and 3 follow one; a step has 30 sequences

# ---- an honest run
expect 0 "$ZK" verify runs/tiny --sample 7
says 'verify: 2 steps, '
says 'nothing differs, but not everything could be checked'
says 'not checked: step 1: not in the sample'
says 'not checked: step 1: updates are not part of a sample'
cp out alone
expect 0 workers 2 "$ZK" verify runs/tiny --sample 7
same out alone
expect 0 "$ZK" verify runs/tiny --sample 1 --steps 3:4
says 'verify: 1 step, '
expect 0 "$ZK" verify runs/tiny --sample 1000000 # all sequences of steps 1 and 3
tokens=$(sed -n 's/^tokens  *\([0-9]*\) of .*/\1/p' out)
[ "$tokens" -eq $(($(element_of runs/tiny/trajectories/step_000001.h5 sample/offsets 30) + $(element_of runs/tiny/trajectories/step_000003.h5 sample/offsets 30))) ] ||
  fail "not every token of steps 1 and 3"

# ---- asked for what cannot be
expect 2 "$ZK" verify runs/tiny --sample 3 --steps 2
tells 'no step from 2 to 2 follows a stored checkpoint'
expect 2 "$ZK" verify runs/warm --sample 3
tells 'samples nothing'
expect 2 "$ZK" verify runs/tiny --sample 0
expect 2 "$ZK" verify runs/tiny --sample 3 --replay

# ---- one flipped bit, all digests sealed again
# caught TEXT FILE NAME INDEX BIT
caught() {
  local text=$1
  shift
  rm -rf runs/x && cp -r runs/tiny runs/x
  "$TAMPER" flip runs/x "$@"
  "$TAMPER" reseal runs/x
  expect 1 "$ZK" verify runs/x --sample 1000000
  says "$text"
}
h5=trajectories/step_000003.h5
token=$(($(element_of runs/tiny/$h5 sample/offsets 8) - 1))
caught 'step 3, prompt 13, sample 2, position ' $h5 sample/tokens $token 1
caught 'sampler_logprob ' $h5 sample/sampler_logprob $token 0
caught 'trainer_logprob ' $h5 sample/trainer_logprob $token 0
caught 'step 2, prompt ' trajectories/step_000002.h5 sample/reward 7 23 # of a step whose weights are not stored
caught 'checkpoint step 2: state.json says weights/hash ' checkpoints/step_000002/model.safetensors model.layers.0.mlp.up_proj.weight 17 0
echo "verify --sample: all as it should be"
