#!/usr/bin/env bash
# Every algorithm of configs/algorithms/ on the quickstart's model and task: held-out accuracy before and after, mismatches, an audit that samples again, and
# what each took of the processor. As many runs at a time as there are cores for: no bit depends on what runs beside.
# --break: rewards are permuted among prompts and say nothing.
. "$(dirname "${BASH_SOURCE[0]}")/../lib/experiment.sh"
zk_experiment algorithms "$@"
zk_program
export OMP_NUM_THREADS=1 # the model is so small that threads would wait for each other
keys=(log.progress=false device=cpu) seeds=7 names=$(basename -s .yaml configs/algorithms/*.yaml | LC_ALL=C sort)
[ "$form" != long ] || seeds="7 8 9"
[ -z "$breaks" ] || keys+=(task.shuffle_rewards=true)
if [ "$form" = tiny ]; then # another model, which learns in a second
  names="cispo grpo ppo"
  quietly "$runs/warm.log" "$zerokl" sft experiments/lib/warm.yaml run.dir="$runs/warm" device=cpu
  keys+=(task.min_length=1 task.max_length=2 task.heldout=100 rollout.max_new_tokens=8 rollout.prompts_per_step=32
    optimizer.warmup_steps=0 run.steps=16)
else
  quietly "$runs/warm.log" zk_mpirun 2 "$zerokl" sft configs/quickstart-sft.yaml run.dir="$runs/warm" log.progress=false device=cpu
fi
model=$(printf '%s\n' "$runs"/warm/checkpoints/step_* | tail -1)

# timed FILE COMMAND...: its talk into FILE.log, and the seconds that it and all it started took of processors, user's and system's, into FILE
timed() {
  local file=$1 code=0 TIMEFORMAT='%U %S'
  shift
  { time "$@" >"$file.log" 2>&1 || code=$?; } 2>"$file"
  return $code
}
# one ALGORITHM SEED: trains and audits
one() {
  local run=$runs/$1-$2
  zk_say "$1, seed $2"
  timed "$run.train" zk_mpirun "$workers" "$zerokl" train "configs/algorithms/$1.yaml" model.path="$model" run.dir="$run" seed="$2" "${keys[@]}" ||
    { tail -3 "$run.train.log" >&2; zk_die "$1 does not run"; }
  timed "$run.verify" zk_mpirun "$workers" "$zerokl" verify --replay "$run" || tail -2 "$run.verify.log" >&2
}
workers=$(of_form 2 2 1) at_a_time=$(($(zk_cores) / workers))
zk_places $((at_a_time > 0 ? at_a_time : 1))
for algorithm in $names; do
  for seed in $seeds; do zk_at_place one "$algorithm" "$seed"; done
done
zk_wait
python3 "$here/table.py" "$runs" "$names" "$seeds"
zk_finish
