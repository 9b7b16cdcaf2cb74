#!/usr/bin/env bash
# What exact bits cost: our numerics against `vendor` in the same engine and against every rival that runs here, sampling and training apart, small batches and
# large, with published prices beside them. Measure on a machine that has nothing else to do.
# --gpu goes on where an earlier call stopped, and samples on one GPU while it trains on another where there are two; ZK_RESULTS="FILE.json... FILE.jsonl..."
# takes what experiments/bench measured instead of measuring.
# --break: of --cpu, our side computes a model of 32 times the layers; of --gpu, ours and `vendor` change places, measured or taken from ZK_RESULTS.
. "$(dirname "${BASH_SOURCE[0]}")/../lib/experiment.sh"
zk_experiment price "$@"
python=${ZK_PYTHON:-python3}
[ "$form" != gpu ] || [ -n "${ZK_RESULTS:-}" ] || zk_needs_gpus 1
[ "$form" = gpu ] || zk_needs_openblas
[ -n "${ZK_RESULTS:-}" ] || zk_program

# ---- a GPU: experiments/bench measures, piece by piece
if [ "$form" = gpu ]; then
  if [ -z "${ZK_RESULTS:-}" ]; then
    sampling=0.6B-bf16,0.6B-vendor,0.6B-graph,0.6B-compiled,8B training=train-0.6B,train-1.7B,train-4B,train-torch,train-torch4B
    # targets FOLDER SECONDS PIECE,...: what fails or finds no time is left out of its results, and table.py says that something is missing.
    targets() { "$python" experiments/bench/targets.py "$1" --seconds "$2" --only "$3" >&2 || true; }
    small() {
      for sequences in 1 8; do
        for numerics in bf16 vendor; do
          bash experiments/bench/generation.sh 0.6B shared $numerics --sequences $sequences | sed "s|^{|{\"piece\": \"0.6B-$sequences-$numerics\", |" >>"$runs/small.jsonl"
        done
      done
    }
    seconds=${ZK_SECONDS:-480}
    IFS=, read -ra gpus <<<"${CUDA_VISIBLE_DEVICES:-0,1}"
    if [ "$(zk_num_gpus)" -ge 2 ]; then # each half has a GPU of its own
      CUDA_VISIBLE_DEVICES=${gpus[1]} targets "$runs/half" "$seconds" $training &
      CUDA_VISIBLE_DEVICES=${gpus[0]} targets "$runs/half" "$seconds" $sampling
      CUDA_VISIBLE_DEVICES=${gpus[0]} small
      wait
      seconds=0
    else
      small
    fi
    mkdir -p "$runs/bench"
    targets "$runs/bench" "$seconds" $sampling,$training
    ZK_RESULTS=$(find "$runs/bench" -name '*.json' -printf '%p ')
    ZK_RESULTS+=$runs/small.jsonl
  fi
  read -ra files <<<"$ZK_RESULTS"
  left=$(python3 "$here/table.py" gpu${breaks:+-swapped} "$runs/measured.jsonl" "${zerokl:--}" "${files[@]}")
  [ -z "$left" ] || zk_skip "$left" "the same command goes on"
  zk_finish
fi

# ---- a CPU: both sides of a pair take turns, and the best of several counts
export OMP_NUM_THREADS=1
tries=$(of_form 3 3 1) batches="1 64" most=$(of_form 64 64 16) keys=()
[ "$form" != tiny ] || batches=8 keys=(model.init.layers=2 model.init.hidden=128 model.init.heads=4 model.init.kv_heads=2 model.init.intermediate=384)
slower=model.init.layers=$(of_form 128 128 64)
measure() {  # sampling|training, batch, numerics, KEY=VALUE...: a line of JSON
  local what=$1 batch=$2 numerics=$3 rate
  shift 3
  [ -z "$breaks" ] || [ "$numerics" = vendor ] || set -- "$@" "$slower"
  if [ "$what" = sampling ]; then
    rate=$("$zerokl" rollout --bench --sequences "$([ "$batch" = 1 ] && echo 2 || echo "$batch")" --min 16 --max "$most" "$here/cpu.yaml" rollout.max_batch="$batch" numerics="$numerics" "$@" \
      2>>"$runs/log" | sed -n 's|.*"perf/rollout_tokens_per_s": \([0-9.]*\).*|\1|p')
  else
    rm -rf "$runs/sft"
    "$zerokl" sft "$here/cpu.yaml" run.dir="$runs/sft" sft.batch="$batch" numerics="$numerics" "$@" 2>>"$runs/log" || true
    rate=$(metric "$runs/sft" perf/train_tokens_per_s | sort -g | tail -1)
  fi
  [ -n "$rate" ] || { tail -2 "$runs/log" >&2; zk_die "$what in $numerics gave no rate; all it said is in $runs/log"; }
  echo "{\"what\": \"$what\", \"batch\": $batch, \"numerics\": \"$numerics\", \"tokens_per_s\": $rate}" >>"$runs/rates.jsonl"
}
for ((try = 0; try < tries; try++)); do
  for what in sampling training; do
    for batch in $batches; do
      zk_say "$what, batch $batch"
      for numerics in f32 vendor; do measure $what "$batch" $numerics "${keys[@]}"; done
    done
  done
done
# PyTorch has its own model: SmolLM2's shape, a step of 4 x 256 tokens, f32 on both sides.
if [ "$form" = cpu ] && "$python" -c 'import torch' 2>/dev/null; then
  zk_say "a training step of 135M, and the same in PyTorch"
  quietly "$runs/135M.log" "$zerokl" bench --threads 1 --filter "train 135M" --json "$runs/135M.json" train
  quietly "$runs/torch.log" "$python" experiments/bench/pytorch_cpu.py --threads 1 --json "$runs/torch.json"
fi
python3 "$here/table.py" cpu "$runs/measured.jsonl" "$runs"
zk_finish
