#!/usr/bin/env bash
# limit: 400
# LoRA: the GPU's adapter is the CPU's in f32 and in bf16; both devices audit it, and it goes on on the other one.
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
long_task lora
steps=$(size 3 2)
for numerics in f32 bf16; do
  for device in cuda cpu; do
    expect 0 "$ZK" train lora.yaml lora.rank=8 lora.alpha=20 numerics=$numerics device=$device run.steps="$steps" run.dir=$numerics-$device
    no_mismatch $numerics-$device "$steps"
  done
  moves $numerics-cuda
  alike $numerics-cpu $numerics-cuda "an adapter in $numerics"
  expect 0 "$ZK" verify $numerics-cuda --replay --device cuda
  says ': all equal'
  expect 0 "$ZK" train lora.yaml lora.rank=8 lora.alpha=20 numerics=$numerics device=cuda run.steps=1 run.dir=$numerics-begun
  expect 0 "$ZK" train lora.yaml lora.rank=8 lora.alpha=20 numerics=$numerics device=cpu run.steps="$steps" run.dir=$numerics-begun
  alike $numerics-cpu $numerics-begun "an adapter in $numerics, begun on the GPU"
done
expect 0 "$ZK" verify bf16-cuda --device cpu --sample 5
# B is zero at first, and nothing reads s: the second step stops.
ZK_FAULT=sampler:scale expect 1 "$ZK_BUILD/zerokl_faulty" train lora.yaml lora.rank=8 lora.alpha=20 numerics=bf16 device=cuda run.steps="$steps" run.dir=faulty
tells differ
diff <(chain f32-cpu) <(chain bf16-cpu) >/dev/null && fail "both numerics have the same bits"
echo "lora: one adapter on both devices"
