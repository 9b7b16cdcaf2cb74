#!/usr/bin/env bash
# A small run from nothing, then inspect on all it left: valid JSON for programs, text for a person, exit codes for mistakes.
set -euo pipefail
zerokl=$ZK_BUILD/zerokl
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat >run.yaml <<'YAML'
seed: 3
run: {name: small, steps: 2, dir: run}
model:
  init: {layers: 1, hidden: 16, heads: 2, kv_heads: 1, intermediate: 32, max_positions: 32, tie: true}
task: {name: reverse, min_length: 2, max_length: 3}
rollout: {prompts_per_step: 4, samples_per_prompt: 2, max_new_tokens: 5}
checkpoint: {every: 1, keep: 2}
YAML
"$zerokl" train run.yaml >/dev/null

expect() { # a text in the output of a command, however it is aligned
  # grep reads to the end: with -q it may leave while tr still writes, and pipefail makes that a failure.
  tr -s ' ' <out | grep -F -- "$1" >/dev/null || { echo "missing \"$1\" in:"; cat out; exit 1; }
}

"$zerokl" inspect run >out
expect 'kind run'; expect 'weights/hash'; expect 'num_trajectories 2'
"$zerokl" inspect --json run >out
expect '"kind": "run"'
"$zerokl" inspect run/trajectories/step_000001.h5 --group 3 >out
expect 'sample/sampler_logprob'; expect 'mismatch_tokens 0'; expect 'content_hash_matches'; expect 'group 3, prompt'; expect 'sample 1 reward'; expect 'mean ln p'
# Side by side where there is room, one below another where there is not; colours only when asked for, or on a terminal that has not said no.
file=run/trajectories/step_000001.h5
COLUMNS=80 "$zerokl" inspect $file >wide; COLUMNS=40 "$zerokl" inspect $file >narrow
grep -q 'sample 0 .*sample 1' wide || { echo "not side by side"; exit 1; }
if grep -q 'sample 0 .*sample 1' narrow; then echo "side by side in 40 characters"; exit 1; fi
escape=$(printf '\033')
if grep -q "$escape" wide; then echo "colours in a file"; exit 1; fi
"$zerokl" inspect $file --color=always >out
grep -q "${escape}\[38;5;16;48;5;" out || { echo "no colours although asked for"; exit 1; }
if command -v script >/dev/null; then
  TERM=xterm script -qec "'$zerokl' inspect $file" /dev/null </dev/null >out
  grep -q "$escape" out || { echo "no colours on a terminal"; exit 1; }
  TERM=xterm NO_COLOR=1 script -qec "'$zerokl' inspect $file" /dev/null </dev/null >out
  if grep -q "$escape" out; then echo "colours in spite of NO_COLOR"; exit 1; fi
fi
"$zerokl" inspect --json --group 1 $file >out
expect '"token_texts"'; expect '"trainer_logprob"'; expect '"group": 1'
"$zerokl" inspect run/checkpoints/step_000002 >out
expect 'model.embed_tokens.weight'; expect 'parameters'
"$zerokl" inspect run/checkpoints/step_000002/optimizer.h5 >out
expect 'exp_avg_sq'
# An adapter whose adapter_config.json was cut off: where, and its tensors all the same.
mkdir adapter
cp run/checkpoints/step_000002/model.safetensors adapter/adapter_model.safetensors
printf '{"r": 4,\n "lora_alpha"' >adapter/adapter_config.json
"$zerokl" inspect adapter >out
expect 'kind adapter'; expect 'adapter_config.json:2:'; expect 'model.embed_tokens.weight'

code() { # expected exit code, then the command
  local want=$1 got=0; shift
  "$@" >out 2>err || got=$?
  [ "$got" = "$want" ] || { echo "exit code $got, not $want: $*"; cat err; exit 1; }
}
code 2 "$zerokl" inspect
code 2 "$zerokl" inspect nothing-here
code 2 "$zerokl" inspect $file --color=red
code 2 "$zerokl" inspect run/trajectories/step_000001.h5 --group 4
code 2 "$zerokl" inspect run.yaml
head -c 1000 run/trajectories/step_000002.h5 >cut.h5
code 2 "$zerokl" inspect cut.h5
grep -q 'cut.h5' err

if command -v h5dump >/dev/null; then
  h5dump -H run/trajectories/step_000001.h5 >out
  expect 'DATASET "trainer_logprob"'; expect 'ATTRIBUTE "description"'
  h5dump -H run/checkpoints/step_000002/optimizer.h5 >out
  expect 'DATASET "exp_avg"'
fi
