#!/usr/bin/env bash
# PEFT loads our adapter on our base and gives our log-probabilities and the merged model's logits within 1e-4 in float32. Wants Python with torch, transformers,
# peft and h5py.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
python=$(python_with torch transformers peft h5py) || skip "no Python with torch, transformers, peft and h5py (ZK_PYTHON)"
tiny_config warm.yaml warm 16
tiny_config tiny.yaml tiny 4
expect 0 "$ZK" sft warm.yaml
expect 0 "$ZK" train tiny.yaml model.path=runs/warm/checkpoints/step_000016 lora.rank=4 lora.alpha=6 optimizer.lr=0.05 checkpoint.every=1 checkpoint.keep=0 run.dir=run
expect 0 "$ZK" export run adapter --adapter --step 3
expect 0 "$ZK" export run merged --step 3
expect 0 "$ZK" export run before --step 1
expect 0 "$python" "$ZK_SOURCE/tests/fixtures/check_adapter.py" runs/warm/checkpoints/step_000016 adapter merged run/trajectories/step_000004.h5
cat out
# Negative control: an earlier step's weights.
expect 1 "$python" "$ZK_SOURCE/tests/fixtures/check_adapter.py" runs/warm/checkpoints/step_000016 adapter before run/trajectories/step_000004.h5
echo "PEFT: all as it should be"
