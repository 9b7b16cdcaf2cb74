#!/usr/bin/env bash
# limit: 300
# f32, a Qwen3-shaped model with odd sizes: norms on q and k, its own head, 6 query heads on 2, head_dim 40, hidden 120, intermediate 200.
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
long_task odd "architecture: qwen3, layers: $(size 3 1), hidden: 120, heads: 6, kv_heads: 2, head_dim: 40, intermediate: 200, max_positions: 256, tie: false"
for device in cpu cuda; do
  expect 0 "$ZK" sft odd-warm.yaml device=$device run.steps="$(size 10 1)" sft.batch="$(size 16 4)" run.dir=sft-$device
  expect 0 "$ZK" train odd.yaml device=$device run.steps="$(size 10 1)" checkpoint.every=0 run.dir=rl-$device
done
alike sft-cpu sft-cuda "sft"
alike rl-cpu rl-cuda "RL"
moves rl-cuda
no_mismatch rl-cuda "$(size 10 1)"
ZK_FAULT=trainer:rope_backward expect 0 "$ZK_BUILD/zerokl_faulty" sft odd-warm.yaml device=cuda run.steps=1 sft.batch="$(size 16 4)" run.dir=faulty
diff <(chain faulty | head -2) <(chain sft-cuda | head -2) >/dev/null && fail "a fault changes nothing"
echo "qwen3: the CPU's chains"
