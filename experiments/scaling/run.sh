#!/usr/bin/env bash
# RL steps of Qwen3-0.6B's shape in bf16 on 1, 2, ... GPUs of this host, one batch for all: how the step's time falls, what its phases take, and that the bits
# stay. Exit code 0: on the most GPUs a step is at least 0.80 of linear, and hashes and trajectories are those of one GPU.
# Usage: run.sh [KEY=VALUE...] (of the runs, not of the warm-up). ZK_BUILD names a build other than build/, ZK_RUNS a folder other than runs/; ZK_GPUS="1 4": on
# so many only; ZK_STEPS=3: of each, the first of them not counted.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib/packages.sh
. "$here/../lib/packages.sh"
zk_help "$@"
# shellcheck source=../bench/shapes.sh
. "$here/../bench/shapes.sh"
cd "$ZK_ROOT"
if [ -n "${CUDA_VISIBLE_DEVICES:-}" ]; then most=$(tr ',' '\n' <<<"$CUDA_VISIBLE_DEVICES" | grep -c .)
else most=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU ') || zk_die "no GPU here"; fi
[ -n "${ZK_BUILD:-}" ] || { zk_packages build && zk_build -DZK_CUDA=ON; }
zerokl=${ZK_BUILD:-build}/zerokl runs=${ZK_RUNS:-runs}/scaling steps=${ZK_STEPS:-3} lines=()
gpus=${ZK_GPUS:-$(seq "$most" | awk '{ n = $1; while (n % 2 == 0) n /= 2; if (n == 1) print $1 }')} # 1, 2, 4, 8
rm -rf "$runs"
mkdir -p "$runs"

# Letters without a meaning, some hundred of them, and a digit at the end that can only be guessed: sequences of 512 to 1,024 tokens, rewards that differ.
awk 'BEGIN { srand(1); for (i = 0; i < 4096; i++) { p = d = ""; for (k = 10 + int(rand() * 490); k > 0; k--) p = p sprintf("%c", 97 + int(rand() * 26));
  for (k = 100 + int(rand() * 300); k > 0; k--) d = d sprintf("%c", 97 + int(rand() * 26)); a = rand() < 0.5 ? 0 : 1;
  printf "{\"prompt\": \"%s=\", \"label\": \"%d\", \"demonstration\": \"%s %d\"}\n", p, a, d, a } }' >"$runs/data.jsonl"
cat >"$runs/run.yaml" <<END
seed: 1
numerics: bf16
device: cuda
run: {name: scaling}
model: {init: {$(qwen3_init 0.6B), rope_theta: 1000000}}
task: {name: jsonl, path: $runs/data.jsonl, grader: number, heldout: 8}
sft: {batch: 32}
rollout: {prompts_per_step: 128, samples_per_prompt: 8, max_new_tokens: 512, ignore_eos: true, max_batch: 512, prefill_chunk: 4096}
trainer: {grad_leaves: 8, microbatch_tokens: 16384}
optimizer: {lr: 1.0e-5, weight_decay: 0.1, grad_clip: 1.0}
checkpoint: {write: false}
eval: {every: 0}
log: {progress: false}
END
zk_mpirun "$most" "$zerokl" sft "$runs/run.yaml" run.dir="$runs/warm" run.steps=24 optimizer.lr=3.0e-4 optimizer.warmup_steps=4 \
  checkpoint.write=true checkpoint.every=0
for n in $gpus; do
  zk_mpirun "$n" "$zerokl" train "$runs/run.yaml" model.path="$runs/warm/checkpoints/step_000024" run.dir="$runs/$n" run.steps="$steps" "$@"
  lines+=("$n:$runs/$n/metrics.jsonl")
  same=(cmp "$runs/${lines[0]%%:*}/trajectories/step_$(printf %06d "$steps").h5" "$runs/$n/trajectories/step_$(printf %06d "$steps").h5")
  "${same[@]}" || zk_die "$n GPUs sample other tokens"
done
python3 "$here/table.py" "${lines[@]}"
