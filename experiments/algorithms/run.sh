#!/usr/bin/env bash
# Every algorithm of configs/algorithms/ on the quickstart's model and task: held-out accuracy before and after, mismatches, an audit that samples again, and
# what each took of the processor.
# --break: rewards are permuted among prompts and say nothing.
. "$(dirname "${BASH_SOURCE[0]}")/../lib/experiment.sh"
zk_experiment algorithms "$@"
zk_program
export OMP_NUM_THREADS=1 # the model is so small that threads would wait for each other
keys=(log.progress=false) seeds=7 names=$(basename -s .yaml configs/algorithms/*.yaml)
[ "$form" != long ] || seeds="7 8 9"
[ -z "$breaks" ] || keys+=(task.shuffle_rewards=true)
if [ "$form" = tiny ]; then # another model, which learns in a second
  names="cispo grpo ppo"
  quietly "$runs/warm.log" "$zerokl" sft experiments/lib/warm.yaml run.dir="$runs/warm"
  keys+=(task.min_length=1 task.max_length=2 task.heldout=100 rollout.max_new_tokens=8 rollout.prompts_per_step=32 optimizer.lr=2.0e-4
    optimizer.warmup_steps=0 run.steps=8)
else
  quietly "$runs/warm.log" zk_mpirun 2 "$zerokl" sft configs/quickstart-sft.yaml run.dir="$runs/warm" log.progress=false
fi
model=$(printf '%s\n' "$runs"/warm/checkpoints/step_* | tail -1)

# timed FILE COMMAND...: its talk into FILE.log, and the seconds that it and all it started took of processors, user's and system's, into FILE
timed() {
  local file=$1 code=0 TIMEFORMAT='%U %S'
  shift
  { time "$@" >"$file.log" 2>&1 || code=$?; } 2>"$file"
  return $code
}
for algorithm in $names; do
  for seed in $seeds; do
    run=$runs/$algorithm-$seed
    zk_say "$algorithm, seed $seed"
    timed "$run.train" zk_mpirun "$(of_form 2 2 1)" "$zerokl" train "configs/algorithms/$algorithm.yaml" model.path="$model" run.dir="$run" seed="$seed" "${keys[@]}" ||
      { tail -3 "$run.train.log" >&2; zk_die "$algorithm does not run"; }
    timed "$run.verify" zk_mpirun "$(of_form 2 2 1)" "$zerokl" verify --replay "$run" || tail -2 "$run.verify.log" >&2
  done
done
python3 "$here/table.py" "$runs" "$names" "$seeds"
zk_finish
