#!/usr/bin/env bash
# limit: 400
# f32, the quickstart's configs: its sft and 20 steps of RL have the CPU's weights, optimiser states and trajectory files, step for step.
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
configs=$ZK_SOURCE/configs
sft_steps=$(size 80 2) rl_steps=$(size 20 1)
sft="run.steps=$sft_steps eval.every=0 log.progress=false $(size '' 'sft.batch=8 model.init.layers=1 optimizer.warmup_steps=0')"
for device in cpu cuda; do
  # shellcheck disable=SC2086
  expect 0 "$ZK" sft "$configs/quickstart-sft.yaml" $sft device=$device run.dir=sft-$device
done
alike sft-cpu sft-cuda "sft"
moves sft-cuda

# An emulated run is too short to warm a model up: it takes one of the CPU.
warm=sft-cuda
if [ -n "$EMULATED" ]; then
  tiny_config warm.yaml warm 16
  expect 0 "$ZK" sft warm.yaml device=cpu run.dir=warm
  warm=warm
fi
rl="run.steps=$rl_steps eval.every=0 log.progress=false model.path=$warm/checkpoints/$(basename "$(ls -d $warm/checkpoints/step_* | tail -1)")
  $(size '' 'task.min_length=1 task.max_length=1 task.heldout=2 rollout.prompts_per_step=6 rollout.samples_per_prompt=5 optimizer.warmup_steps=0')"
for device in cpu cuda; do
  # shellcheck disable=SC2086
  expect 0 "$ZK" train "$configs/quickstart.yaml" $rl device=$device run.dir=rl-$device
done
alike rl-cpu rl-cuda "RL"
moves rl-cuda
no_mismatch rl-cuda "$rl_steps"

# The comparison can fail: one ulp in one backward operation gives other weights.
# shellcheck disable=SC2086
ZK_FAULT=trainer:linear_backward_weight expect 0 "$ZK_BUILD/zerokl_faulty" sft "$configs/quickstart-sft.yaml" $sft run.steps=2 device=cuda run.dir=faulty
diff <(chain faulty | head -3) <(chain sft-cuda | head -3) >/dev/null && fail "a fault changes nothing"
echo "f32: the CPU's chains"
