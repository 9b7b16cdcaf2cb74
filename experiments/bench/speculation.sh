#!/usr/bin/env bash
# What guessing ahead (rollout.speculate) saves in real RL runs on one GPU, in bf16: the same GRPO steps with 0, 2, 4 and 8 guesses, which must end in
# the same weights. Usage: speculation.sh [MODEL]: two small models that are warmed up here, and SmolLM2-135M-Instruct if MODEL names its folder
# (experiments/smollm2/setup.sh makes it). One JSON object a run, in runs/bench/speculation.jsonl too (ZK_RUNS: elsewhere than runs/). ZK_BUILD names a build other than build/,
# ZK_STEPS another number of steps (20), ZK_DEVICE another device.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
zerokl=${ZK_BUILD:-build}/zerokl steps=${ZK_STEPS:-20} device=${ZK_DEVICE:-cuda} smollm2=${1:-}
runs=${ZK_RUNS:-runs}/bench/speculation
rows=$runs.jsonl
mkdir -p "$runs"
: >"$rows"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

# total RUN KEY: of all steps
total() { sed -n "s|.*\"$2\": \([^,}]*\).*|\1|p" "$1/metrics.jsonl" | awk '{ n += $1 } END { print n + 0 }'; }
chain() { sed -n 's|.*"weights/hash": "\([0-9a-f]*\)".*|\1|p' "$1/metrics.jsonl"; }

# measure NAME CONFIG KEY=VALUE...
measure() {
  local name=$1 config=$2 guesses run
  shift 2
  for guesses in 0 2 4 8; do
    run=$runs/$name-$guesses
    rm -rf "$run"
    "$zerokl" train "$config" "$@" numerics=bf16 "device=$device" "run.steps=$steps" checkpoint.every=0 eval.every=0 log.progress=false \
      "rollout.speculate=$guesses" "run.dir=$run" >/dev/null 2>"$runs/log" || { cat "$runs/log" >&2; exit 1; }
    diff -q <(chain "$runs/$name-0") <(chain "$run") >/dev/null || { echo "error: $run has other weights than without guesses" >&2; exit 1; }
    awk -v name="$name" -v guesses="$guesses" -v tokens="$(total "$run" tokens/generated)" -v seconds="$(total "$run" time/rollout)" \
      -v drafted="$(total "$run" speculation/drafted)" -v accepted="$(total "$run" speculation/accepted)" -v hash="$(chain "$run" | tail -1)" 'BEGIN {
      printf "{\"run\": \"%s\", \"speculate\": %d, \"tokens\": %d, \"time/rollout\": %.3f, \"tokens_per_s\": %.0f, \"drafted\": %d, \"accepted\": %d, \"weights/hash\": \"%s\"}\n",
        name, guesses, tokens, seconds, tokens / seconds, drafted, accepted, hash }' | tee -a "$rows"
  done
}

# warm NAME CONFIG KEY=VALUE...: supervised steps; the folder of the model they give
warm() {
  local run=$runs/$1-warm config=$2
  shift 2
  rm -rf "$run"
  "$zerokl" sft "$config" "$@" numerics=bf16 "device=$device" log.progress=false "run.dir=$run" >/dev/null 2>"$runs/log" || { cat "$runs/log" >&2; exit 1; }
  echo "$run/checkpoints/$(ls "$run/checkpoints" | tail -1)"
}

# Short answers to prompts that are never seen again: guesses come from the group's other samples.
model=$(warm quickstart configs/quickstart-sft.yaml eval.every=0)
measure quickstart configs/quickstart.yaml "model.path=$model"

# Answers of 40 letters to 64 prompts that come again in every epoch: guesses come from earlier completions too.
awk 'BEGIN { srand(1); for (i = 0; i < 72; i++) { p = ""; for (k = 0; k < 40; k++) p = p sprintf("%c", 97 + int(rand() * 26));
  printf "{\"prompt\": \"%s=\", \"label\": \"%s\", \"demonstration\": \"%s\"}\n", p, p, p } }' >"$runs/copy.jsonl"
cat >"$runs/copy.yaml" <<END
seed: 3
run: {name: copy, steps: 60}
model: {init: {layers: 4, hidden: 256, heads: 4, kv_heads: 2, intermediate: 768, max_positions: 128, tie: true}}
task: {name: jsonl, path: $runs/copy.jsonl, grader: exact, heldout: 8}
sft: {batch: 64}
rollout: {prompts_per_step: 16, samples_per_prompt: 8, max_new_tokens: 48, max_batch: 128, page_tokens: 16}
optimizer: {lr: 2.0e-3, warmup_steps: 10, weight_decay: 0.0, grad_clip: 1.0}
checkpoint: {every: 0}
eval: {every: 0}
END
model=$(warm copy "$runs/copy.yaml")
measure copy "$runs/copy.yaml" "model.path=$model" optimizer.lr=1.0e-4
measure copy-batch-4 "$runs/copy.yaml" "model.path=$model" optimizer.lr=1.0e-4 rollout.max_batch=4

[ -z "$smollm2" ] || measure smollm2 experiments/smollm2/gpu.yaml "model.path=$smollm2"
