#!/usr/bin/env bash
# RL three ways, all else equal: sampler and trainer of other arithmetic and no correction; the same with truncated importance weights (TIS); bits equal.
# Several runs at a time: one a core, or ZK_JOBS (3) on each GPU, which models as small as these leave idle between launches.
# Forms on GPUs go on where an earlier call stopped: ZK_SECONDS (540) is what one call may take, ZK_MODEL the folder of SmolLM2-135M-Instruct.
# --break: the arm whose bits are equal gets the other sampler too.
. "$(dirname "${BASH_SOURCE[0]}")/../lib/experiment.sh"
zk_experiment on_policy "$@"
smollm=${ZK_MODEL:-models/SmolLM2-135M-Instruct} seeds="1 2 3" device=cpu keep=$runs config=$here/run.yaml keys=(log.progress=false)
case $form in
gpu*)
  zk_needs_gpus 1
  [ "$form" = gpu ] || zk_needs_model "$smollm" "experiments/smollm2/setup.sh makes it"
  # gpu_amplified compares with runs of gpu_smollm2, and takes those that are there
  keep=${ZK_RUNS:-runs}/experiments/on_policy/kept-$([ "$form" = gpu ] && echo gpu || echo smollm2)${breaks:+-broken} device=cuda ;;
esac
keys+=("device=$device")
zk_program
export OMP_NUM_THREADS=1 # these models are so small that threads would wait for each other
mkdir -p "$keep"
case $form in
cpu) seeds=1 keys+=(run.steps=120) ;;
long) keys+=(run.steps=200) ;;
gpu) keys+=(run.steps=200 eval.every=50) ;;
gpu_smollm2 | gpu_amplified) config=experiments/smollm2/gpu.yaml keys+=(run.steps=500 checkpoint.every=0 eval.every=100 algorithm.ratio=none algorithm.clip=none) ;;
tiny) seeds=1 keys+=(task.min_length=1 task.max_length=2 task.heldout=100 rollout.prompts_per_step=16 optimizer.lr=2.0e-4 run.steps=10) ;;
esac

# What the arms differ in: a name, and keys. The trainer's numerics are the same in these.
trainer=f32 other=rollout.numerics=bf16 weights="algorithm.importance.mode=truncate algorithm.importance.cap=2"
case $form in
gpu_amplified) trainer=bf16 other=rollout.weight_bits=3 ;;
gpu*) trainer=bf16 other=rollout.numerics=vendor ;;
esac
arms=("equal numerics=$trainer ${breaks:+$other}" "mismatched numerics=$trainer $other" "corrected numerics=$trainer $other $weights")
# Beside them: both sides in a library's arithmetic. Samplers further from the trainer have arms with names of their own.
case $form in
cpu | long)
  if python3 -c 'import ctypes; ctypes.CDLL("libopenblas.so.0")' 2>/dev/null; then arms+=("library numerics=vendor")
  else zk_say "no OpenBLAS here (libopenblas0): the arm that uses it is left out"; fi ;;
gpu_amplified)
  arms=("${arms[0]}")
  for bits in 3 2; do arms+=("bits$bits numerics=$trainer rollout.weight_bits=$bits" "bits$bits-corrected numerics=$trainer rollout.weight_bits=$bits $weights"); done
  arms+=("bits4 numerics=$trainer rollout.weight_bits=4") ;;
esac

warm() {
  local config=configs/quickstart-sft.yaml
  [ "$form" != tiny ] || config=experiments/lib/warm.yaml
  case $form in gpu_*) model=$smollm; return ;; esac
  [ -d "$keep/warm/checkpoints" ] || quietly "$keep/warm.log" "$zerokl" sft "$config" run.dir="$keep/warm" log.progress=false device=$device
  model=$(printf '%s\n' "$keep"/warm/checkpoints/step_* | tail -1)
}
# train NAME SEED KEY=VALUE...: a run, or what there is time for of it (exit code 3: stopped with a checkpoint)
train() {
  local dir=$keep/$1-$2 seed=$2 code=0 left=$((${ZK_SECONDS:-540} - SECONDS + zk_begun))
  shift 2
  case $form in gpu*) ;; *) left=100000 ;; esac
  [ $left -gt 15 ] && ! grep -qs ': step .* done in ' "$dir.log" || return 0
  zk_say "${dir##*/}"
  timeout --signal=TERM --kill-after=60 "$left" "$zerokl" train "$config" model.path="$model" run.dir="$dir" seed="$seed" "${keys[@]}" "$@" >"$dir.log" 2>&1 || code=$?
  case $code in 0 | 3 | 124) ;; *) tail -3 "$dir.log" >&2; zk_die "$dir: exit code $code" ;; esac
}

audit() {
  zk_say "verify $1"
  "$zerokl" verify "$keep/$1-1" --steps "1:$(of_form 20 20 10)" >"$keep/$1.verify" 2>&1 || true
}

warm
if [ $device = cuda ]; then
  gpus=${CUDA_VISIBLE_DEVICES:-$(nvidia-smi --query-gpu=index --format=csv,noheader)}
  zk_places "${ZK_JOBS:-3}" ${gpus//,/ }
else zk_places "$(zk_cores)"; fi
for arm in "${arms[@]}"; do
  read -ra words <<<"$arm"
  for seed in $seeds; do zk_at_place train "${words[0]}" "$seed" "${words[@]:1}"; done
done
zk_wait

# Each side of each kind of run can be computed again, and the audit says which of them is off-policy.
for name in equal mismatched bits3; do
  grep -qs ': step .* done in ' "$keep/$name-1.log" && [ ! -s "$keep/$name.verify" ] || continue
  zk_at_place audit "$name"
done
zk_wait
names=$(for arm in "${arms[@]}"; do echo "${arm%% *}"; done)
left=$(python3 "$here/table.py" "$keep" "$runs/measured.jsonl" "$names" "$seeds")
[ -z "$left" ] || zk_skip "$left" "the same command goes on"
zk_finish
