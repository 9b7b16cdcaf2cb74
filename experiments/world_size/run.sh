#!/usr/bin/env bash
# One run on 1, 2, 3 and 4 workers: one chain of hashes, one set of trajectory files.
# --break: each run cuts its gradient sums by its number of workers, as all-reduces do.
. "$(dirname "${BASH_SOURCE[0]}")/../lib/experiment.sh"
zk_experiment world_size "$@"
keys=() most=$(of_form 4 4 3) # $most: workers
if [ "$form" = gpus ]; then
  zk_needs_gpus 2
  most=$(zk_num_gpus)
  keys=(device=cuda numerics=bf16)
fi
zk_program
if [ "$form" = gpus ]; then
  keys+=("model.init.architecture=qwen3" model.init.hidden=1024 model.init.heads=8 model.init.kv_heads=4 model.init.head_dim=128 model.init.intermediate=3072 optimizer.lr=5.0e-4 optimizer.warmup_steps=5)
fi
export OMP_NUM_THREADS=1
quietly "$runs/warm.log" "$zerokl" sft experiments/lib/warm.yaml run.dir="$runs/warm" "${keys[@]}"

train() {  # workers, run directory, KEY=VALUE...
  local workers=$1 dir=$2
  shift 2
  quietly "$dir.log" zk_mpirun "$workers" "$zerokl" train experiments/lib/run.yaml model.path="$runs/warm/checkpoints/step_000060" run.dir="$dir" \
    "run.steps=$(of_form 20 20 2)" "${keys[@]:0:2}" "$@"
}
leaves() { case $1 in 1) echo 1 ;; 2) echo 2 ;; *) echo 4 ;; esac; } # a power of two, at least the workers of a broken run
for ((workers = 1; workers <= most; workers++)); do
  zk_say "$workers of $most workers"
  train "$workers" "$runs/$workers" ${breaks:+trainer.grad_leaves=$(leaves "$workers")}
  zk_row workers "$workers" "all hashes and files" "$(chain_hash "$runs/$workers")" "weights/hash at the end" "$(last_hash "$runs/$workers")" \
    "mismatched tokens" "$(total "$runs/$workers" mismatch/tokens)" "of tokens" "$(total "$runs/$workers" tokens/generated)"
done
# What would be seen if the number of workers changed anything: the same run whose gradient sums are cut in another way.
train 1 "$runs/control" trainer.grad_leaves=4

zk_value runs "$most"
zk_value chains "$(for ((n = 1; n <= most; n++)); do chain_hash "$runs/$n"; done | sort -u | wc -l)"
zk_value "different weights in a run" "$(metric "$runs/1" weights/hash | sort -u | wc -l)"
zk_value "weights/hash" "$(last_hash "$runs/1")"
zk_value "weights/hash of the control" "$(last_hash "$runs/control")"
zk_value "mismatched tokens" "$(for ((n = 1; n <= most; n++)); do total "$runs/$n" mismatch/tokens; echo; done | awk '{ n += $1 } END { print n }')"
zk_finish
