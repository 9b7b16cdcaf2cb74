# What the tests of several GPUs share; source it first. It brings common.sh.
# With one GPU, or an emulated one, they either say what they lack or let workers share it (through host memory: NCCL refuses that).
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
. "$(dirname "${BASH_SOURCE[0]}")/../../job.sh"
export OMP_NUM_THREADS=2
# gpus: how many a worker sees
gpus() {
  if [ -n "$EMULATED" ]; then echo 1
  elif [ -n "${CUDA_VISIBLE_DEVICES+set}" ]; then tr ',' '\n' <<<"$CUDA_VISIBLE_DEVICES" | grep -c . || true
  else nvidia-smi -L 2>/dev/null | grep -c '^GPU ' || true; fi
}
NUM_GPUS=$(gpus)

# needs_gpus N: the test is skipped where there are fewer
needs_gpus() {
  [ "$NUM_GPUS" -ge "$1" ] && return
  echo "needs $1 GPUs, and there are $NUM_GPUS"
  exit 77
}

job=
trap '[ -z "$job" ] || kill -9 "$job" 2>/dev/null || true; rm -rf "$ZK_TMP"' EXIT
# start N COMMAND...: N workers in the background, their stderr in ./err; $job is mpirun's id
start() {
  local n=$1
  shift
  mpirun -n "$n" --oversubscribe --bind-to none "$@" 2>err & job=$!
}
# worker RANK: the process id of that worker of $job, once there is one
worker() {
  local id
  while kill -0 "$job" 2>/dev/null; do
    for id in $(cat "/proc/$job"/task/*/children 2>/dev/null); do
      [ "$(cat "/proc/$id/comm" 2>/dev/null)" = zerokl ] || continue
      ! grep -qsz "^OMPI_COMM_WORLD_RANK=$1\$" "/proc/$id/environ" || { echo "$id"; return; }
    done
    sleep 0.01
  done
  fail "the workers have ended by themselves"
}

# ---- a run that is shaken

# shaken_run: $train is a command that goes on with a tiny Qwen3 in bf16 in $run, for $ranks workers: four, or as many as there are GPUs
shaken_run() {
  run=$ZK_TMP/shaken ranks=4 device=cuda
  [ "$NUM_GPUS" -ge 2 ] || device=cuda:0
  [ "$NUM_GPUS" -lt 2 ] || [ "$NUM_GPUS" -ge 4 ] || ranks=$NUM_GPUS
  long_task plan "architecture: qwen3, layers: 2, hidden: 64, heads: 4, kv_heads: 2, head_dim: 16, intermediate: 128, max_positions: 256"
  train=("$ZK" train plan.yaml numerics=bf16 "device=$device" "run.dir=$run" checkpoint.every=2 checkpoint.keep=2)
}
# the last step of $run of which there is a line
last_step() { sed -n '$s/^{"step": \([0-9]*\).*/\1/p' "$run/metrics.jsonl" 2>/dev/null | grep . || echo 0; }
# left: names what is left of $run's workers (by a file in /proc; its own pattern is not on grep's command line)
left() { grep -lszFf - /proc/[0-9]*/cmdline <<<"run.dir=$run"; }
# lost WORDS...: $job ended, with one line of error that says all of these, and has left nobody behind
lost() {
  local text begin=$EPOCHREALTIME
  ended
  took=$(awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
  [ $code -ne 0 ] || fail "a worker is lost and mpirun says all is well"
  for _ in $(seq 50); do
    left >/dev/null || break
    sleep 0.1
  done
  ! left || fail "workers are left"
  [ $# -eq 0 ] && [ "$(grep -c 'error: ' err)" = 0 ] && return # one that died before it had joined is mpirun's to name
  [ "$(grep -c 'error: ' err)" = 1 ] || fail "not one line of error"
  for text; do grep 'error: ' err | grep -qF -- "$text" || fail "the error does not say: $text"; done
}
# go_on WORKERS: two more steps, to an end, with so many or all that there are
go_on() {
  local n=$1
  [ "$n" -le $ranks ] || n=$ranks
  expect 0 workers "$n" "${train[@]}" run.steps=$(($(last_step) + 2))
  echo "$n workers went on to step $(last_step)"
}
# unshaken WHAT: $run has the bits of a run that nothing happened to, on one GPU
unshaken() {
  local steps
  steps=$(last_step)
  expect 0 "$ZK" train plan.yaml numerics=bf16 device=cuda:0 run.dir=reference run.steps="$steps" checkpoint.every=0
  moves reference
  alike reference "$run" "$1, $steps steps"
}
