#!/usr/bin/env bash
# cost: 60
# Bad input of every kind: exit code 2 and one line that says what, where and how to mend it; what was there stays as it was.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

# one_error TEXT...: of the last `expect`: one line of error, and it says all of these.
one_error() {
  local text
  [ "$(grep -c 'error: ' err)" = 1 ] || fail "not one line of error"
  for text; do grep 'error: ' err | grep -F -- "$text" >/dev/null || fail "the error does not say: $text"; done
}
# refused COMMAND... -- TEXT...: refused as bad input, saying TEXT.
refused() {
  local command=()
  while [ "$1" != -- ]; do command+=("$1"); shift; done
  shift
  expect 2 "${command[@]}"
  one_error "$@"
}
# altered NAME SED FILE: model folder NAME, the good one with FILE altered by SED (of the same length, in a weights file).
altered() {
  rm -rf "$1" && cp -r model "$1"
  LC_ALL=C sed -i "$2" "$1/$3"
  ! cmp -s "model/$3" "$1/$3" || fail "$1: $3 was not altered"
}
# digests FOLDER: of every file in it, as one text.
digests() { find "$1" -type f ! -name lock -print0 | sort -z | xargs -0 sha256sum; }

# ---- arguments
expect 2 "$ZK"
tells 'Usage: zerokl COMMAND'
expect 0 "$ZK" --help
expect 0 "$ZK" --version
commands=$("$ZK" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p')
[ "$(wc -w <<<"$commands")" -ge 7 ] || fail "too few commands: $commands"
for command in $commands; do
  expect 0 "$ZK" "$command" --help
  [ -s out ] && [ ! -s err ] || fail "$command --help says nothing, or not on stdout"
  expect 2 "$ZK" "$command" --no-such-option
  tells --no-such-option
done
refused "$ZK" nosuch -- 'nosuch: no such command' 'zerokl --help'
refused "$ZK" train -- 'which CONFIG.yaml'

# ---- config
tiny_config good.yaml tiny 2
sed 's/^seed:/sede:/' good.yaml >bad.yaml
refused "$ZK" train bad.yaml -- 'bad.yaml:1:1: sede: no such key' 'did you mean seed'
refused workers 3 "$ZK" train bad.yaml -- 'bad.yaml:1:1: sede: no such key'
sed 's/^sft:.*/sft: {batch: 32, batch: 8}/' good.yaml >bad.yaml
refused "$ZK" train bad.yaml -- 'bad.yaml:7:18: sft.batch: given twice'
sed 's/^task:.*/task: {min_length: 1}/' good.yaml >bad.yaml
refused "$ZK" train bad.yaml -- 'bad.yaml:6:1: task.name: missing'
sed 's/max_new_tokens: 8/max_new_tokens: -8/' good.yaml >bad.yaml
refused "$ZK" train bad.yaml -- 'bad.yaml:8:' 'rollout.max_new_tokens: -8 is out of range'
sed 's/lr: 0.03/lr: fast/' good.yaml >bad.yaml
refused "$ZK" train bad.yaml -- 'bad.yaml:9:17: optimizer.lr: ' '"fast"'
sed 's/^seed: 7/seed: [7/' good.yaml >bad.yaml
refused "$ZK" train bad.yaml -- 'bad.yaml:' 'not valid YAML'
refused "$ZK" train nowhere.yaml -- 'nowhere.yaml' 'No such file'
refused "$ZK" train . -- '.'
refused "$ZK" train good.yaml seed -- '"seed"'
refused "$ZK" train good.yaml optimizer.lr=nan -- 'optimizer.lr'
mkdir empty && : >empty/libopenblas.so.0 && : >empty/libopenblas.so
refused env LD_LIBRARY_PATH="empty${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" "$ZK" train good.yaml numerics=vendor device=cpu -- 'numerics: vendor on a CPU computes with OpenBLAS' 'libopenblas0'
refused "$ZK" train good.yaml device=cuda:8 -- 'device: expected one of auto, cpu, cuda, cuda:0'
refused "$ZK" train good.yaml algorithm.ratio=none -- 'algorithm.clip'
refused workers 3 "$ZK" train good.yaml trainer.grad_leaves=2 -- 'trainer.grad_leaves' '3 workers'
refused "$ZK" train good.yaml trainer.grad_leaves=6 -- 'trainer.grad_leaves' 'power of two'
[ ! -e runs ] || fail "a refused config left a run directory"

# ---- model folders
"$ZK" sft good.yaml run.dir=first 2>/dev/null
"$ZK" export first model 2>/dev/null
# model_refused FOLDER TEXT...
model_refused() {
  local folder=$1
  rm -rf new
  shift
  refused "$ZK" train good.yaml model.path="$folder" run.dir=new -- "$@"
  [ -z "$(find new -type f ! -name lock 2>/dev/null)" ] || fail "a refused model left files in new: $(find new -type f)"
}
model_refused nowhere nowhere
altered bad 's/"hidden_size": 32/"hidden_size": 48/' config.json
model_refused bad bad/
altered bad 's/"silu"/"gelu"/' config.json
model_refused bad bad/config.json hidden_act gelu
altered bad 's/"mlp_bias": false/"mlp_bias": true/' config.json
model_refused bad bad/config.json mlp_bias
altered bad 's/"rope_type": "default"/"rope_type": "yarn"/' config.json
model_refused bad bad/config.json yarn
altered bad 's/"model_type": "llama"/"model_type": "mamba"/' config.json
model_refused bad bad/config.json mamba
altered bad 's/^{/{{/' config.json
model_refused bad 'bad/config.json:1'
altered bad 's/"vocab_size": 260/"vocab_size": 200/' config.json
model_refused bad bad/ 200
weights=model.safetensors
altered bad '1s/model.norm.weight/model.norn.weight/' $weights
model_refused bad bad model.norm.weight
altered bad '1s/"shape":\[260,32\]/"shape":[32,260]/' $weights
model_refused bad bad/$weights model.embed_tokens.weight '260'
altered bad '1s/"dtype":"F32"/"dtype":"I32"/' $weights
model_refused bad bad/$weights model.embed_tokens.weight I32
altered bad '1s/\[33280,33408\]/[33152,33280]/' $weights
model_refused bad bad/$weights
altered bad '1s/\[0,33280\]/[9,99999]/' $weights
model_refused bad bad/$weights
altered bad '1s/"data_offsets":\[0,33280\]/"data_offsets":[0,9e999]/' $weights
model_refused bad bad/$weights
altered bad '1s/{"__meta/[[[[[[[[/' $weights
model_refused bad bad/$weights
for size in 0 7 9 500 20000 109000; do
  cp model/$weights bad/ && truncate -s $size bad/$weights
  model_refused bad bad/$weights
done
cp model/$weights bad/ && printf '\xff\xff\xff\xff\xff\xff\xff\x7f' | dd of=bad/$weights conv=notrunc status=none
model_refused bad bad/$weights
rm bad/$weights
model_refused bad bad $weights
cp model/$weights bad/
printf '\0\0\xc0\x7f' | dd of=bad/$weights bs=1 seek=$(($(stat -c %s bad/$weights) - 4)) conv=notrunc status=none
model_refused bad bad/$weights model.norm.weight 'element 31' 'not a number'

# ---- tokenizers and templates
altered bad 's/"id": 259/"id": 999/' tokenizer.json
model_refused bad bad tokenizer.json 999
altered bad 's/"BPE"/"Unigram"/' tokenizer.json
model_refused bad 'bad: tokenizer.json' Unigram
rm bad/tokenizer.json
model_refused bad bad/tokenizer.json
altered bad 's/"clean_up/"chat_template": "{{ messages }}", "clean_up/' tokenizer_config.json
model_refused bad 'chat template' task.template

# ---- data sets
rm -rf new
jsonl() { printf '%s\n' '{"prompt": "a", "label": "b"}' '{"prompt": "c", "label": "d"}' "$1" >data.jsonl; }
data_refused() { rm -rf new; refused "$ZK" train good.yaml task.name=jsonl task.path=data.jsonl task.heldout=1 run.dir=new -- "$@"; }
for line in '{"prompt": "e"' '{"prompt": "e"}' '{"label": "f"}' '{"prompt": 3, "label": "f"}' '[]' ' ' $'{"prompt": "\xff", "label": "f"}' \
  '{"prompt": "e", "prompt": "e", "label": "f"}'; do
  jsonl "$line"
  data_refused data.jsonl:3
done
jsonl '{"prompt": "e", "label": "f"}'
refused "$ZK" train good.yaml task.name=jsonl task.path=data.jsonl task.grader=number run.dir=new -- data.jsonl:1 label
refused "$ZK" train good.yaml task.name=jsonl task.path=data.jsonl task.heldout=5 run.dir=new -- task.heldout
refused "$ZK" train good.yaml task.name=jsonl task.path=nowhere.jsonl run.dir=new -- nowhere.jsonl
: >data.jsonl
data_refused data.jsonl
refused "$ZK" train good.yaml task.min_length=90 task.max_length=90 run.dir=new -- 'leaves room for a token' 64
refused workers 3 "$ZK" train good.yaml task.min_length=90 task.max_length=90 run.dir=new -- 'prompt ' 'context of 64'

# ---- memory
rm -rf new
refused "$ZK" train good.yaml rollout.kv_bytes=1000 run.dir=new -- rollout.kv_bytes 1000 65536 'one sequence of 64 tokens'
refused "$ZK" train good.yaml rollout.kv_bytes=1000000000000000 run.dir=new -- 'the plan needs' free 'the largest part is KV cache' rollout.kv_bytes
refused workers 3 "$ZK" train good.yaml rollout.kv_bytes=1000000000000000 run.dir=new -- rollout.kv_bytes
big="model.init.hidden=8192 model.init.intermediate=32768 model.init.layers=40 model.init.heads=64 model.init.kv_heads=64"
# shellcheck disable=SC2086
refused "$ZK" train good.yaml $big run.dir=new -- 'the plan needs' 'free on cpu' 'the largest part is gradients' trainer.grad_leaves
# shellcheck disable=SC2086
refused "$ZK" train good.yaml --dry-run $big -- 'the plan needs' 'the largest part is'

# ---- run directories
before=$(digests first)
refused "$ZK" sft good.yaml run.dir=first optimizer.lr=0.5 -- first optimizer.lr 'another run.dir'
refused "$ZK" train good.yaml run.dir=first -- first 'zerokl sft'
refused "$ZK" sft good.yaml run.dir=first run.resume=never -- first run.resume
refused "$ZK" sft good.yaml run.dir=new2 run.resume=must -- new2 run.resume
refused "$ZK" sft good.yaml run.dir=good.yaml -- good.yaml
refused "$ZK" verify nowhere -- nowhere
refused "$ZK" export nowhere x -- nowhere
refused "$ZK" inspect nowhere -- nowhere
(
  exec 9>>first/lock
  flock 9
  exec sleep 100
) &
holder=$!
echo "pid $holder on here" >first/lock
refused "$ZK" sft good.yaml run.dir=first run.steps=4 -- first "pid $holder on here"
kill $holder && wait $holder 2>/dev/null || true
[ "$before" = "$(digests first)" ] || fail "refused starts changed the run directory"
if [ "$(id -u)" != 0 ]; then
  mkdir locked && chmod 555 locked
  refused "$ZK" sft good.yaml run.dir=locked/run -- locked 'ermission denied'
fi
refused "$ZK" sft good.yaml run.dir=/proc/nowhere/run -- /proc/nowhere
expect 0 "$ZK" sft good.yaml run.dir=first run.steps=4 # and it goes on
echo "bad input: all refused"
