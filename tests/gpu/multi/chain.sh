#!/usr/bin/env bash
# limit: 240
# 20 RL steps in bf16 of SmolLM2-135M's shape and of Qwen3-0.6B's, prompts handed to whichever worker is free: the same weights/hash and state/hash after every
# step on 1, 2, 3 and 4 GPUs. NCCL's all-reduce in the place of the gradient's tree gives others.
#   ZK_CHAIN_STEPS=N: so many steps
# Weights and moments of the larger model are 7 GB: they are written to memory where there is room.
room=$(df -k --output=avail /dev/shm 2>/dev/null | tail -1) || room=0
[ "${room:-0}" -lt 40000000 ] || export TMPDIR=/dev/shm
. "$(dirname "${BASH_SOURCE[0]}")/../lib/multi.sh"
needs_gpus 2
steps=${ZK_CHAIN_STEPS:-20}
most=$((NUM_GPUS < 4 ? NUM_GPUS : 4))

# Prompts of 20 to 170 letters, and an answer whose last letter can only be guessed: rewards differ within a group.
awk 'BEGIN { srand(1); for (i = 0; i < 72; i++) { p = ""; n = 20 + int(rand() * 150); for (k = 0; k < n; k++) p = p sprintf("%c", 97 + int(rand() * 26));
  a = "ab" (rand() < 0.5 ? "u" : "v"); printf "{\"prompt\": \"%s=\", \"label\": \"%s\", \"demonstration\": \"%s\"}\n", p, a, a } }' >data.jsonl

# shape NAME LR MODEL: NAME-warm.yaml (sft) and NAME.yaml (RL from its end)
shape() {
  local common="seed: 3
numerics: bf16
task: {name: jsonl, path: data.jsonl, grader: exact, heldout: 8}
eval: {every: 0}
log: {every: 100, progress: false}"
  cat >"$1-warm.yaml" <<EOF
$common
run: {name: warm, steps: 30}
checkpoint: {every: 0}
model: {init: {$3, max_positions: 256}}
sft: {batch: 16}
rollout: {max_new_tokens: 12}
optimizer: {lr: $2, warmup_steps: 5, grad_clip: 1.0}
EOF
  cat >"$1.yaml" <<EOF
$common
run: {name: rl, steps: $steps}
checkpoint: {write: false}
model: {path: $1-warm/checkpoints/step_000030}
rollout: {prompts_per_step: 16, samples_per_prompt: 8, max_new_tokens: 12, max_batch: 16}
optimizer: {lr: 0.00002, grad_clip: 1.0}
EOF
}
shape smollm2 0.001 "architecture: llama, layers: 30, hidden: 576, heads: 9, kv_heads: 3, head_dim: 64, intermediate: 1536, vocab: 49152, tie: true"
shape qwen3 0.0005 "architecture: qwen3, layers: 28, hidden: 1024, heads: 16, kv_heads: 8, head_dim: 128, intermediate: 3072, vocab: 151936, tie: true"

IFS=, read -ra visible <<<"${CUDA_VISIBLE_DEVICES:-$(seq -s, 0 $((NUM_GPUS - 1)))}"
# on FIRST NUM COMMAND...: with those of the visible GPUs
on() {
  local gpus="${visible[*]:$1:$2}"
  CUDA_VISIBLE_DEVICES=${gpus// /,} "${@:3}"
}
warm() { on "$2" 1 "$ZK" sft "$1-warm.yaml" device=cuda run.dir="$1-warm" 2>"$1-warm.err"; }
# rl MODEL WORKERS FIRST: 20 steps on so many GPUs from that one on
rl() { on "$3" "$2" workers "$2" "$ZK" train "$1.yaml" device=cuda run.dir="$1-$2" 2>"$1-$2.err"; }
# beside "COMMAND" ["COMMAND"]: both at once, on GPUs of their own
beside() {
  local command pids=()
  for command; do
    $command &
    pids+=($!)
  done
  for command; do
    wait "${pids[0]}" || { tail -n 5 ./*.err >&2; fail "$command"; }
    pids=("${pids[@]:1}")
  done
}
# hashes RUN STEPS: of weights and state after each step up to that one
hashes() { chain "$1" | sed -n "2,$((1 + $2))p"; }
beside "warm smollm2 0" "warm qwen3 1"
if [ "$most" = 4 ]; then
  beside "rl smollm2 1 0" "rl smollm2 3 1"
  beside "rl qwen3 1 0" "rl qwen3 3 1"
  beside "rl smollm2 2 0" "rl qwen3 2 2"
  beside "rl smollm2 4 0"
  beside "rl qwen3 4 0"
else
  for n in $(seq "$most"); do
    beside "rl smollm2 $n 0"
    beside "rl qwen3 $n 0"
  done
fi
for model in smollm2 qwen3; do
  moves "$model-1"
  for n in $(seq "$most"); do
    [ "$n" = 1 ] || grep -q "$n workers exchange device memory by NCCL" "$model-$n.err" || fail "$model: $n workers, and no NCCL"
    no_mismatch "$model-$n" "$steps"
    alike "$model-1" "$model-$n" "$model, $n GPUs, $steps steps"
  done
done
# Of two numbers there is but one sum: on two GPUs NCCL's order shows from the first step on whose leaves are shared out unevenly, some of twenty.
vendor_steps=$((most > 2 ? 2 : steps))
ZK_FAULT=trainer:add:vendor expect 0 workers "$most" "$ZK_BUILD/zerokl_faulty" train smollm2.yaml device=cuda run.dir=vendor run.steps=$vendor_steps
diff <(hashes vendor $vendor_steps) <(hashes smollm2-1 $vendor_steps) >/dev/null && fail "NCCL's all-reduce gives the tree's bits"
echo "NCCL's all-reduce in the tree's place: other bits"
