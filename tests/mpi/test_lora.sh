#!/usr/bin/env bash
# label: slow; cost: 90
# LoRA end to end: one chain of hashes for any number of workers, an audit that samples and updates again, resuming, exports, and what is refused
# before anything is sampled.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
chain() { sed -n 's|.*"weights/hash": "\([0-9a-f]*\)", "state/hash": "\([0-9a-f]*\)".*|\1 \2|p' "$1/metrics.jsonl"; (cd "$1/trajectories" && sha256sum ./*.h5); }
alike() { diff <(chain "$1") <(chain "$2") >err || fail "$3: $1 and $2 have other bits"; }
tiny_config warm.yaml warm 16
tiny_config tiny.yaml tiny 3
expect 0 "$ZK" sft warm.yaml
whole="model.path=runs/warm/checkpoints/step_000016 optimizer.lr=0.02 checkpoint.every=1 checkpoint.keep=0 eval.every=0 device=cpu"
lora="$whole lora.rank=4 lora.alpha=6"
# train DIR COMMAND... : a run of the adapter; further keys behind --
train() {
  local dir=$1 keys=()
  shift
  while [ $# -gt 0 ] && [ "$1" != -- ]; do keys+=("$1") && shift; done
  [ $# -eq 0 ] || shift
  # shellcheck disable=SC2086
  expect 0 "${keys[@]}" "$ZK" train tiny.yaml $lora run.dir="$dir" "$@"
}

bf16="numerics=bf16 run.steps=2" # tensor cores emulated: few steps
train f32 env
# shellcheck disable=SC2086
train bf16 env -- $bf16
for numerics in f32 bf16; do
  steps=$(grep -c '"mismatch/tokens": 0,' $numerics/metrics.jsonl)
  [ "$steps" = "$(find $numerics/trajectories -name '*.h5' | wc -l)" ] || fail "$numerics: tokens differ"
  [ "$(sed -n 's|.*"weights/hash": "\([0-9a-f]*\)".*|\1|p' $numerics/metrics.jsonl | sort -u | wc -l)" = $((steps + 1)) ] || fail "$numerics: some update changed nothing"
  expect 0 "$ZK" verify $numerics --replay
  says ': all equal'
done
for n in 2 3; do
  train f32-$n workers $n
  alike f32 f32-$n "$n workers"
  same f32/checkpoints/step_000003/adapter_model.safetensors f32-$n/checkpoints/step_000003/adapter_model.safetensors
done
# shellcheck disable=SC2086
train bf16-2 workers 2 -- $bf16
alike bf16 bf16-2 "2 workers, bf16"
# The adapter above is one block of 4,096 weights, which one worker owns. One of three, a rank that no tile divides, is cut into shards, and of less than
# one some workers own nothing; begun by three workers, continued by two.
sharded() {
  local name=$1
  shift
  train "$name" env -- run.steps=2 "$@"
  train "$name-3" workers 3 -- run.steps=1 "$@"
  train "$name-3" workers 2 -- run.steps=2 "$@"
  alike "$name" "$name-3" "shards of $*"
  expect 0 workers 3 "$ZK" verify "$name-3"
}
sharded three lora.rank=12
sharded less lora.rank=1 lora.target_modules=[q_proj]
train other env -- lora.alpha=7 # negative control
diff <(chain f32) <(chain other) >/dev/null && fail "another alpha, the same run"

# A run that was stopped goes on, in other pieces, to the same state. Schedules change no bit.
train stopped env -- run.steps=2
train stopped workers 2 -- rollout.max_batch=3 rollout.prefill_chunk=5 trainer.microbatch_tokens=16 trainer.recompute=true rollout.speculate=2
alike f32 stopped "stopped and resumed in another schedule"

# The frozen base: the plan has optimiser state and gradients of the adapter alone, and a checkpoint holds nothing else.
# shellcheck disable=SC2086
expect 0 "$ZK" train tiny.yaml $lora --dry-run
row() { sed -n "s/^# *\([0-9]*\)  $1$/\1/p" out; }
n=$(sed -n 's/^# adapter: LoRA of rank 4, \([0-9]*\) parameters$/\1/p' out)
[ "$n" -gt 0 ] && [ "$(row 'optimiser state')" = $((8 * n)) ] && [ "$(row 'gradient shard')" = $((4 * n)) ] || fail "the plan has other state than that of $n factors"
[ ! -e f32/checkpoints/step_000003/model.safetensors ] || fail "a checkpoint holds the base"

# A flipped bit of a factor is found and named.
cp -r f32 x
"$TAMPER" flip x checkpoints/step_000002/adapter_model.safetensors base_model.model.model.layers.1.mlp.up_proj.lora_A.weight 17 0
"$TAMPER" reseal x
expect 1 "$ZK" verify x
says 'layers.1.mlp.up_proj.lora_A.weight element 17: '
# So is a checkpoint that others would load as another adapter: scaled otherwise, or for another base.
altered() {
  cp -r f32 "$1"
  sed -i "$3" "$1/checkpoints/step_000002/$2"
  cmp -s "f32/checkpoints/step_000002/$2" "$1/checkpoints/step_000002/$2" && fail "$2 was not altered"
  "$TAMPER" reseal "$1"
  expect 1 "$ZK" verify "$1"
  says "$2 is not the model"
}
altered scaled adapter_config.json 's/"lora_alpha": 6/"lora_alpha": 12/'
altered based zerokl_base.json 's/"f32"/"bf16"/'
# A sampler and a trainer that do not add the factors alike are found out.
for fault in sampler:linear trainer:scale; do
  code=0
  # shellcheck disable=SC2086
  ZK_FAULT=$fault "$ZK_BUILD/zerokl_faulty" train tiny.yaml $lora run.dir=faulty >out 2>err || code=$?
  [ $code = 1 ] || fail "$fault: exit code $code"
  tells 'differ'
  rm -rf faulty
done

# The divergence from the run's first weights is from the base: 0 at first, then not.
train kl workers 2 -- algorithm.kl.coef=0.1
[ "$(sed -n 's|.*"policy/kl_reference": \([0-9.e-]*\).*|\1|p' kl/metrics.jsonl | head -1)" = 0.0 ] || fail "the first divergence is not 0"
[ "$(sed -n 's|.*"policy/kl_reference": \([0-9.e-]*\).*|\1|p' kl/metrics.jsonl | grep -vxc 0.0)" = 2 ] || fail "some later divergence is 0: the reference follows the adapter"
expect 0 "$ZK" verify kl
# The base's own folder as reference is the base that is loaded already: the first divergence is 0 here too, and all is as with a copy of the folder.
base=runs/warm/checkpoints/step_000016
cp -r $base copied
for reference in $base copied; do
  # shellcheck disable=SC2086
  expect 0 "$ZK" train tiny.yaml $lora algorithm.kl.coef=0.1 algorithm.kl.reference=$reference --dry-run
  n=$(row 'reference model')
  [ "$reference:$((${n:-0} > 0))" = copied:1 ] || [ "$reference:${n:-0}" = $base:0 ] || fail "$reference: the plan has $n bytes of a reference"
  train "kl-${reference##*/}" env -- algorithm.kl.coef=0.1 algorithm.kl.reference="$reference"
  sed 's|.*"policy/kl_reference": \([^,]*\),.*"weights/hash": \("[0-9a-f]*"\).*|\1 \2|' "kl-${reference##*/}/metrics.jsonl" >"said-${reference##*/}"
done
same said-step_000016 said-copied
diff <(chain kl | cut -d ' ' -f 1 | head -4) <(chain kl-copied | cut -d ' ' -f 1 | head -4) >err || fail "the base is another reference than a new adapter beside it"
expect 0 "$ZK" verify kl-step_000016
# And a run of an adapter starts where another ended.
train next env -- lora.path=f32/checkpoints/step_000003 run.steps=1
[ "$(chain next | sed -n '1s/ .*//p')" = "$(chain f32 | sed -n '4s/ .*//p')" ] || fail "lora.path does not start from the adapter"
expect 0 "$ZK" verify next

# Exports: the model that base and adapter are together, and the adapter; both are started from.
expect 0 "$ZK" export f32 merged
expect 0 "$ZK" export f32 adapter --adapter
same adapter/adapter_model.safetensors f32/checkpoints/step_000003/adapter_model.safetensors
same adapter/adapter_config.json f32/checkpoints/step_000003/adapter_config.json
# shellcheck disable=SC2086
expect 0 "$ZK" train tiny.yaml $lora lora.path=adapter --dry-run
train again env -- lora.path=adapter run.steps=1
diff <(chain again | head -1) <(chain next | head -1) >/dev/null || fail "the exported adapter is another"
expect 0 "$ZK" train tiny.yaml model.path=merged run.dir=plain run.steps=1 optimizer.lr=0.01
expect 0 "$ZK" inspect adapter
says 'lora_A.weight'
expect 2 "$ZK" export runs/warm x1 --adapter
tells 'has no adapter'

# refused TEXT KEY...: before anything is sampled, and by --dry-run but where the base's weights must be looked at
refused() {
  local text=$1
  shift
  # shellcheck disable=SC2086
  case $text in
  'trained on another base' | 'holds an adapter and no model') ;;
  *) expect 2 "$ZK" train tiny.yaml $lora run.dir=bad "$@" --dry-run && tells "$text" ;;
  esac
  # shellcheck disable=SC2086
  expect 2 "$ZK" train tiny.yaml $lora run.dir=bad "$@"
  tells "$text"
  [ -z "$(find bad -name '*.h5' 2>/dev/null)" ] || fail "$*: something was sampled"
}
refused 'r is 4 and lora.rank is 8' lora.path=adapter lora.rank=8
refused 'lora.target_modules' lora.path=adapter lora.target_modules=[q_proj]
refused 'trained on another base' lora.path=adapter model.path=merged
refused 'each once' lora.target_modules=[q_proj,lm_head]
refused 'has no effect with lora.rank: 0' lora.path=adapter lora.rank=0
expect 0 "$ZK" sft warm.yaml model.init.hidden=64 run.dir=wide run.steps=1
refused 'the adapter fits another base' lora.path=adapter model.path=wide/checkpoints/step_000001
refused 'holds an adapter and no model' model.path=f32/checkpoints/step_000003
refused 'holds an adapter and no model' model.path=adapter
refused 'is no adapter' lora.path=runs/warm/checkpoints/step_000016
mkdir pickled && cp adapter/adapter_config.json pickled
refused 'adapter_model.safetensors: ' lora.path=pickled
touch pickled/adapter_model.bin
refused 'save_pretrained(FOLDER, safe_serialization=True)' lora.path=pickled
# Where a folder has no hash of its base, as PEFT's, a name is compared, and said.
cp -r adapter named
rm named/zerokl_base.json
sed -i 's|step_000016|another-8B|' named/adapter_config.json
train named1 env -- lora.path=named run.steps=1
tells 'was trained on runs/warm/checkpoints/another-8B, and model.path is'
sed -i 's|another-8B|step_000016|' named/adapter_config.json
train named2 env -- lora.path=named run.steps=1
grep -q 'was trained on' err && fail "a base of the same name is told of"
alike named1 named2 "a name"
echo "LoRA: all as it should be"
