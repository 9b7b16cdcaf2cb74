#!/usr/bin/env bash
# An adapter that was trained here, loaded by PEFT on its base: in float32 its logits are those of the merged model that we export, and its log-probabilities
# of the sampled tokens those that the run stored. --break: an earlier step's weights are merged.
. "$(dirname "${BASH_SOURCE[0]}")/../lib/experiment.sh"
zk_experiment peft "$@"
python=${ZK_PYTHON:-python3}
"$python" -c 'import h5py, peft, torch, transformers' 2>/dev/null ||
  zk_skip "no Python with torch, transformers, peft and h5py" "python3 -m venv V && V/bin/pip install torch transformers peft h5py, then ZK_PYTHON=V/bin/python"
zk_program
export OMP_NUM_THREADS=1
base=$runs/warm/checkpoints/step_000060 run=$runs/run
quietly "$runs/warm.log" "$zerokl" sft experiments/lib/warm.yaml run.dir="$runs/warm"
quietly "$runs/run.log" "$zerokl" train experiments/lib/run.yaml model.path="$base" run.dir="$run" lora.rank=4 lora.alpha=6 optimizer.lr=0.02 checkpoint.every=1 \
  checkpoint.keep=0
quietly "$runs/export.log" "$zerokl" export "$run" "$runs/adapter" --adapter --step 7
quietly "$runs/export.log" "$zerokl" export "$run" "$runs/merged" --step "$([ -z "$breaks" ] && echo 7 || echo 6)"
quietly "$runs/compare.log" "$python" $here/compare.py "$base" "$runs/adapter" "$runs/merged" "$run/trajectories/step_000008.h5" "$runs/measured.jsonl"
zk_value "mismatched tokens" "$(total "$run" mismatch/tokens)"
zk_finish
