#!/usr/bin/env bash
# `zerokl export`: a checkpoint as a plain model folder; what cannot be exported is refused and leaves nothing behind.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
zerokl=$ZK_BUILD/zerokl

fail() { echo "FAILED: $*" >&2; exit 1; }
# refused TEXT ARGUMENT...: exit code 2, TEXT in the message, and no folder `new`
refused() {
  local text=$1 code=0
  shift
  "$zerokl" export "$@" >out 2>err || code=$?
  [ $code -eq 2 ] || fail "export $*: exit code $code"
  grep -qF -- "$text" err || fail "export $*: said $(cat err)"
  [ ! -s out ] && [ -z "$(compgen -G 'new*')" ] || fail "export $*: left something"
}

cat >tiny.yaml <<'YAML'
seed: 3
run: {name: tiny, steps: 2}
model: {init: {layers: 1, hidden: 32, heads: 2, kv_heads: 1, intermediate: 48, max_positions: 64, tie: true}}
task: {name: reverse, min_length: 2, max_length: 3, heldout: 4}
sft: {batch: 8}
rollout: {max_new_tokens: 6, max_batch: 8, page_tokens: 16, prefill_chunk: 64}
optimizer: {lr: 1.0e-3, schedule: constant}
checkpoint: {every: 1, keep: 0}
eval: {every: 0}
YAML
"$zerokl" sft tiny.yaml >/dev/null 2>log || fail "sft: $(cat log)"
run=runs/tiny

# the newest checkpoint; f32 bytes are a function of the weights alone, so they equal the checkpoint's
"$zerokl" export $run new 2>/dev/null
cmp new/model.safetensors $run/checkpoints/step_000002/model.safetensors
cmp new/tokenizer.json $run/checkpoints/step_000002/tokenizer.json
cmp new/config.json $run/checkpoints/step_000002/config.json
want="config.json generation_config.json model.safetensors tokenizer.json tokenizer_config.json "
[ "$(ls new | tr '\n' ' ')" = "$want" ] || fail "new holds $(ls new)"
mkdir empty
"$zerokl" export --step 1 $run empty/ 2>/dev/null
cmp empty/model.safetensors $run/checkpoints/step_000001/model.safetensors
cmp -s empty/model.safetensors new/model.safetensors && fail "two steps with the same weights"
"$zerokl" export --dtype bf16 $run half 2>/dev/null
half=$(stat -c %s half/model.safetensors) whole=$(stat -c %s new/model.safetensors)
[ $((2 * half)) -lt $((whole + 4096)) ] || fail "bf16 takes $half bytes, f32 $whole"
# an export is a model that runs start from
"$zerokl" sft tiny.yaml run.dir=again model.path=half run.steps=1 >/dev/null 2>log || fail "sft from an export: $(cat log)"
mv new kept

mkdir full && touch full/x
refused "full: is not empty" $run full
refused "has no complete checkpoint of step 7" --step 7 $run new
refused "nowhere" nowhere new
refused "neither f32 nor bf16" --dtype f64 $run new
refused "is not a step" --step x $run new
refused "RUN and DIR" $run
printf 'X' | dd of=$run/checkpoints/step_000002/model.safetensors bs=1 seek=2000 conv=notrunc status=none
refused "model.safetensors" $run new # damaged
rm $run/checkpoints/step_000002/DONE
"$zerokl" export $run new 2>/dev/null # incomplete: the one before it is the newest
cmp new/model.safetensors empty/model.safetensors
echo "export: all as it should be"
