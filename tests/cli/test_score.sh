#!/usr/bin/env bash
# cost: 30
# `zerokl score`: log-probabilities equal to transformers', bits that depend on the line alone, and mistakes named by file and line.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
models=$ZK_SOURCE/tests/fixtures/models

# tensor FILE NAME TYPE: the values of a tensor of a safetensors file, one a line; TYPE as od knows it (d4, f4).
tensor() {
  local header begin end
  header=$(od -An -N 8 -tu8 "$1" | tr -d ' ')
  read -r begin end < <(dd if="$1" bs=1 skip=8 count="$header" status=none |
    sed -n "s/.*\"$2\":{[^}]*\"data_offsets\":\[\([0-9]*\),\([0-9]*\)\].*/\1 \2/p") || true
  [ -n "$end" ] || fail "$1 has no tensor $2"
  od -An -v -w4 "-t$3" -j $((8 + header + begin)) -N $((end - begin)) "$1"
}

# lines MODEL: the reference's sequences as input lines; reference MODEL: its log-probabilities, the first of each sequence left out.
lines() {
  tensor "$models/$1/reference.safetensors" offsets d4 >offsets
  tensor "$models/$1/reference.safetensors" tokens d4 >tokens
  awk 'NR == FNR { at[NR] = $1; n = NR; next } { id[FNR - 1] = $1 }
    END { for (s = 1; s < n; s++) { line = ""; for (i = at[s]; i < at[s + 1]; i++) line = line (line == "" ? "" : ", ") id[i]; print "{\"tokens\": [" line "]}" } }' offsets tokens
}
reference() {
  tensor "$models/$1/reference.safetensors" logprobs f4 >logprobs
  awk 'NR == FNR { first[$1] = 1; next } !((FNR - 1) in first) { print $1 }' offsets logprobs
}
# values FIELD: all values of a field of the output lines, one a line.
values() { sed "s/.*\"$1\": \[\([^]]*\)\].*/\1/" | tr -d '" ' | tr ',' '\n' | sed '/^$/d'; }

for model in llama-tied llama3-rope qwen2-bias qwen3-qknorm; do
  lines $model >in.jsonl
  expect 0 "$ZK" score $models/$model in.jsonl
  cp out $model.out
  values logprob <out >ours
  reference $model >theirs
  paste ours theirs | awk '{ d = $1 - $2; d = d < 0 ? -d : d; t = $2 < 0 ? -$2 : $2; n++; if (!(d <= 1e-5 * (t > 1 ? t : 1))) bad++ }
    END { exit !(n > 200 && NF == 2 && !bad) }' || fail "$model: log-probabilities differ from transformers' by more than 1e-5"
  sed 's/.*"tokens": \(\[[^]]*\]\).*/{"tokens": \1}/' out >tokens.out
  same tokens.out in.jsonl
done
# The comparison can fail: one weight's worth of change is seen.
paste ours <(awk '{ print $1 + 0.0001 }' theirs) | awk '{ d = $1 - $2; if (d * d > 1e-9) bad++ } END { exit !bad }' || fail "the comparison sees nothing"

# A line's bits are its own: other company, other order, other cuts, other instruction sets, other thread counts.
model=$models/llama-tied
lines llama-tied >in.jsonl
values bits <llama-tied.out | sort -u | head -c 8 | grep -E '^[0-9a-f]{8}$' >/dev/null || fail "bits are not 8 hexadecimal digits"
awk '{ l[NR] = $0 } END { for (r = 0; r < 9; r++) for (i = NR; i > 0; i--) print l[i] }' in.jsonl >mixed.jsonl
awk '{ l[NR] = $0 } END { for (r = 0; r < 9; r++) for (i = NR; i > 0; i--) print l[i] }' llama-tied.out >mixed.want
for cut in 16 100 4096; do
  expect 0 "$ZK" score $model mixed.jsonl trainer.microbatch_tokens=$cut
  same out mixed.want
done
for isa in scalar avx2 avx512; do
  for threads in 1 2; do
    code=0
    ZK_CPU_ISA=$isa OMP_NUM_THREADS=$threads "$ZK" score $model - <in.jsonl >out 2>err || code=$?
    [ $code = 0 ] || { [ $code = 2 ] && grep -qi "$isa" err && continue; } || fail "$isa with $threads threads: exit code $code"
    same out llama-tied.out
  done
done
# A prefix of a line has a prefix of its bits; a changed last token changes the last value alone.
echo '{"tokens": [5, 6, 7, 8, 9]}' >a.jsonl
echo '{"tokens": [5, 6, 7]}' >b.jsonl
echo '{"tokens": [5, 6, 7, 8, 10]}' >c.jsonl
for f in a b c; do "$ZK" score $model $f.jsonl 2>err | values bits >$f.bits; done
[ "$(head -n 2 a.bits)" = "$(cat b.bits)" ] || fail "a prefix has other bits"
[ "$(head -n 3 a.bits)" = "$(head -n 3 c.bits)" ] && [ "$(tail -n 1 a.bits)" != "$(tail -n 1 c.bits)" ] || fail "only the last value should change"

# Nothing to predict is an empty list; other keys of a line are the caller's own.
printf '{"tokens": []}\n{"tokens": [3], "id": "x"}\n{"tokens": [3, 4]}' >few.jsonl
expect 0 "$ZK" score $model few.jsonl
[ "$(head -n 2 out)" = '{"tokens": [], "logprob": [], "bits": []}
{"tokens": [3], "logprob": [], "bits": []}' ] && [ "$(wc -l <out)" = 3 ] || fail "lines of 0, 1 and 2 tokens"

# Text: a model made from scratch has the byte tokenizer.
tiny_config tiny.yaml tiny 1
expect 0 "$ZK" sft tiny.yaml
printf '{"text": "abc"}\n{"tokens": [97, 98, 99]}\n' >text.jsonl
expect 0 "$ZK" score runs/tiny/checkpoints/step_000001 text.jsonl
[ "$(wc -l <out)" = 2 ] && [ "$(uniq out | wc -l)" = 1 ] || fail "a text and its tokens differ"

# refused TEXT LINE: the second line of a file is LINE; the message names file and line, and says TEXT
refused() {
  printf '{"tokens": [1, 2]}\n%s\n' "$2" >bad.jsonl
  expect 2 "$ZK" score $model bad.jsonl
  tells "bad.jsonl:2: "
  tells "$1"
  [ ! -s out ] || fail "$2: something was printed"
}
refused "is not valid JSON" '{"tokens": [1, 2}'
refused "is empty" ''
refused "is not an object" '[1, 2]'
refused "has neither of" '{"ids": [1]}'
refused "has both of" '{"tokens": [1], "text": "a"}'
refused '"tokens"[1] is 300; the model' '{"tokens": [1, 300]}'
refused '"tokens"[0] is -1' '{"tokens": [-1]}'
refused '"tokens"[0] is not an integer' '{"tokens": [1.0]}'
refused '"tokens" is not an array' '{"tokens": 1}'
refused "513 tokens; the model has 512 positions" "{\"tokens\": [$(seq -s, 0 1 255),$(seq -s, 0 1 255),7]}"
refused "tokenizer.json" '{"text": "a"}' # this folder has none
: >none.jsonl
expect 2 "$ZK" score $model none.jsonl
tells "none.jsonl: is empty"
expect 2 "$ZK" score $model missing.jsonl
tells "missing.jsonl"
expect 2 "$ZK" score nowhere in.jsonl
tells "nowhere"
for key in seed=1 rollout.temperature=0.5 run.steps=3 optimizer.lr=1; do
  expect 2 "$ZK" score $model in.jsonl $key
  tells "${key%=*} is part of a run's identity"
done
expect 2 "$ZK" score $model in.jsonl trainer.no_such_key=1
expect 2 "$ZK" score $model
[ ! -e /dev/full ] || { code=0; "$ZK" score $model in.jsonl >/dev/full 2>err || code=$?; [ $code != 0 ] && grep -q "standard output" err; } || fail "a full disk went unnoticed"
echo "score: all as it should be"
