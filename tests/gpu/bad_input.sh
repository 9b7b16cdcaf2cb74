#!/usr/bin/env bash
# limit: 120
# What a GPU cannot do is refused with exit code 2 and one message with a way on, before anything is written.
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
tiny_config tiny.yaml tiny 1
if [ -z "$EMULATED" ]; then
  for command in "train tiny.yaml device=cuda run.dir=none" "check --device cuda"; do
    # shellcheck disable=SC2086
    CUDA_VISIBLE_DEVICES="" expect 2 "$ZK" $command
    tells 'no GPU'
    tells 'device: cpu'
  done
  CUDA_VISIBLE_DEVICES="" expect 0 "$ZK" sft tiny.yaml device=auto run.dir=auto # takes the CPU instead
fi
CUDA_VISIBLE_DEVICES=0 expect 2 "$ZK" train tiny.yaml device=cuda:7 run.dir=none
tells 'device: cuda:7: this host has '
expect 2 "$ZK" train tiny.yaml device=cuda rollout.kv_bytes=16TiB run.dir=none
tells 'KV cache'
tells 'lower rollout.kv_bytes'
big="model.init.layers=80 model.init.hidden=16384 model.init.heads=128 model.init.kv_heads=8 model.init.intermediate=65536"
for numerics in f32 bf16; do
  # shellcheck disable=SC2086
  expect 2 "$ZK" train tiny.yaml device=cuda numerics=$numerics $big run.dir=none
  tells 'the plan needs '
  tells 'the largest part is '
done
# A kernel that dies in the middle of a run, of one worker and of two: one message with the operation, no hang; the same command goes on.
for command in "" "workers 2"; do
  # shellcheck disable=SC2086
  ZK_FAULT=trainer:adamw:break expect 2 $command "$ZK_BUILD/zerokl_faulty" train tiny.yaml device=cuda:0 run.steps=3 run.dir=broken
  [ "$(grep -c 'error: ' err)" = 1 ] || fail "not one message"
  tells 'CUDA: '
  tells 'adamw'
  tells 'the same command goes on'
done
expect 0 "$ZK" train tiny.yaml device=cuda:0 run.steps=3 run.dir=broken
[ ! -e none ] || fail "a refused run left a directory"
echo "bad input: refused as it should be"
