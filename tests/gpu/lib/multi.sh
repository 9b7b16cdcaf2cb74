# What the tests of several GPUs share; source it first. It brings common.sh.
# With one GPU, or an emulated one, they either say what they lack or let workers share it (through host memory: NCCL refuses that).
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
export OMP_NUM_THREADS=2
NUM_GPUS=$([ -n "$EMULATED" ] && echo 1 || nvidia-smi -L 2>/dev/null | grep -c '^GPU ' || true)

# needs_gpus N: the test is skipped where there are fewer
needs_gpus() {
  [ "$NUM_GPUS" -ge "$1" ] && return
  echo "needs $1 GPUs, and there are $NUM_GPUS"
  exit 77
}
# on_gpus N COMMAND...: a worker a GPU, if there are N
on_gpus() { workers "$@"; }

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
    for id in $(pgrep -P "$job" -x zerokl); do
      ! grep -qsz "^OMPI_COMM_WORLD_RANK=$1\$" "/proc/$id/environ" || { echo "$id"; return; }
    done
    sleep 0.01
  done
  fail "the workers have ended by themselves"
}
# ended: waits for $job; its exit code is $code
ended() {
  code=0
  wait "$job" || code=$?
  job=
}
