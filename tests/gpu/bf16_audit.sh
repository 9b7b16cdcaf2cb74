#!/usr/bin/env bash
# limit: 400
# bf16: what the GPU sampled and trained, a GPU and a CPU recompute; a CPU training by itself has the same chain.
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
long_task half
steps=$(size 3 1)
for device in cuda cpu; do
  expect 0 "$ZK" train half.yaml numerics=bf16 device=$device run.steps="$steps" run.dir=$device
  no_mismatch $device "$steps"
done
alike cpu cuda "bf16"
moves cuda
expect 0 "$ZK" verify cuda --device cuda
says ': all equal'
expect 0 "$ZK" verify cuda --device cpu
says ': all equal'
cat out
expect 0 "$ZK" verify cuda --device cpu --sample 5

# The audit can fail, and a step with a fault on one side stops.
ZK_FAULT=trainer:attention expect 1 "$ZK_BUILD/zerokl_faulty" verify cuda --device cuda
ZK_FAULT=sampler:linear expect 1 "$ZK_BUILD/zerokl_faulty" train half.yaml numerics=bf16 device=cuda run.steps=1 run.dir=faulty
tells differ
echo "bf16: audited on both devices"
