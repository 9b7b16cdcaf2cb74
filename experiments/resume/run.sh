#!/usr/bin/env bash
# A run that is killed (SIGKILL, at moments that nobody chose) and started again, on other numbers of workers, against one that nothing happened to: one
# chain of hashes, the same trajectory files. --break: it goes on with the checkpoint's weights and without its optimiser state, as a script that reloads a
# model does.
. "$(dirname "${BASH_SOURCE[0]}")/../lib/experiment.sh"
zk_experiment resume "$@"
keys=()
if [ "$form" = gpu ]; then
  zk_needs_gpus 1
  keys=(device=cuda:0 numerics=bf16) # its workers share the GPU
fi
zk_program
export OMP_NUM_THREADS=1
steps=$(of_form 40 60 20)
quietly "$runs/warm.log" "$zerokl" sft experiments/lib/warm.yaml run.dir="$runs/warm" "${keys[@]}"
train=("$zerokl" train experiments/lib/run.yaml "${keys[@]}" run.steps="$steps" checkpoint.keep=0)
from=model.path=$runs/warm/checkpoints/step_000060

job=
trap '[ -z "$job" ] || kill -9 "$job" 2>/dev/null || true' EXIT
children() { cat "/proc/$1"/task/*/children 2>/dev/null; } # of a process: their ids
# kill_run RUN STEP WORKERS: starts or resumes RUN and kills a worker soon after that step's trajectory is there
kill_run() {
  local dir=$1 file parent workers
  file=$dir/trajectories/step_$(printf %06d "$2").h5
  zk_mpirun "$3" "${train[@]}" "$from" run.dir="$dir" >>"$dir.log" 2>&1 &
  job=$!
  until [ -e "$file" ]; do
    kill -0 $job 2>/dev/null || { tail -5 "$dir.log" >&2; exit 2; }
    sleep 0.01
  done
  sleep 0.0$((RANDOM % 10))
  read -r parent _ <<<"$(children $job)" # mpirun
  read -ra workers <<<"$([ -z "$parent" ] || children "$parent")"
  [ ${#workers[@]} = 0 ] || kill -9 "${workers[-1]}" 2>/dev/null || true
  wait $job 2>/dev/null && zk_say "step $2: it had ended before it was killed" || killed=$((killed + 1))
  job=
  there=$(find "$dir/trajectories" -name '*.h5' | wc -l)
}

zk_say "nothing happens"
quietly "$runs/quiet.log" "${train[@]}" "$from" run.dir="$runs/quiet"
zk_row run "nothing happens" "all hashes and files" "$(chain_hash "$runs/quiet")" "weights/hash at the end" "$(last_hash "$runs/quiet")"
killed=0
round=0
for plan in "1 $((steps / 8))" "2 $((steps / 4))" $(of_form "3 4" 3 ""); do
  case $plan in 3) plan="3 $((steps / 3))" ;; 4) plan="2 $((steps / 2))" ;; esac
  read -r workers first <<<"$plan"
  round=$((round + 1)) run=$runs/killed$round
  again=$((workers % 3 + 1)) # so many workers go on
  story="killed after step $first on $workers"
  zk_say "$story"
  kill_run "$run" "$first" "$workers"
  if [ "$form" != tiny ]; then
    kill_run "$run" $((there + steps / 8)) $again
    story+=", after step $there on $again"
  fi
  if [ -n "$breaks" ]; then # another run, of what is left, that begins at the checkpoint's weights
    last=$(find "$run/checkpoints" -name DONE | sort | tail -1 | xargs dirname)
    quietly "$run.log" "${train[@]}" model.path="$last" run.dir="$run-new" run.steps=$((steps - 10#${last##*_}))
    run=$run-new
  else
    quietly "$run.log" zk_mpirun $((again % 3 + 1)) "${train[@]}" "$from" run.dir="$run"
  fi
  zk_row run "$story, ended on $((again % 3 + 1))" "all hashes and files" "$(chain_hash "$run")" "weights/hash at the end" "$(last_hash "$run")"
done
zk_value runs $round
zk_value kills $killed
zk_value "different endings" "$({ last_hash "$runs/quiet"; for r in "$runs"/killed?$([ -z "$breaks" ] || echo -new)/; do last_hash "$r"; done; } | sort -u | wc -l)"
zk_value chains "$({ chain_hash "$runs/quiet"; for r in "$runs"/killed?$([ -z "$breaks" ] || echo -new)/; do chain_hash "$r"; done; } | sort -u | wc -l)"
zk_value "different weights in a run" "$(metric "$runs/quiet" weights/hash | sort -u | wc -l)"
zk_finish
