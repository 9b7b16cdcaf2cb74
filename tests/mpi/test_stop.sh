#!/usr/bin/env bash
# label: slow; cost: 60
# SIGTERM and SIGUSR1, to a worker or to mpirun: the run stops with a checkpoint of its last step and exit code 3, and goes on with another number of
# workers to the bits of one that nothing happened to.
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/run_control.sh"
reference

# stopped RUN TEXT RANKS: $job ended as it should, with its last step in a checkpoint; then it goes on.
stopped() {
  ended
  [ $code -eq 3 ] || { cat log >&2; fail "$1: exit code $code"; }
  one_error "interrupted: $2" "stopped after step" "$1/checkpoints/step_" "start the same command again"
  [ -f "$(printf '%s/checkpoints/step_%06d/DONE' "$1" "$(last_step "$1")")" ] || fail "$1: no checkpoint of the last step"
  finish "$1" "$1" "$3"
}

start worker 3 run.steps=1000
await worker/trajectories/step_000002.h5
sleep 0.0$((RANDOM % 10)) # anywhere in a step
kill -TERM "$(worker 2)"
stopped worker "SIGTERM reached rank 2" 4

start forwarded 4 run.steps=1000
await forwarded/trajectories/step_000002.h5
kill -USR1 "$job"
stopped forwarded "SIGUSR1 reached rank" 2

# mpirun passes SIGTERM on, and kills after a second, or what it is told.
mpirun_options="--mca odls_base_sigkill_timeout 8" start ended 2 run.steps=1000
await ended/trajectories/step_000002.h5
kill -TERM "$job"
ended
one_error "interrupted: SIGTERM" ended/checkpoints/step_
finish ended "SIGTERM to mpirun" 3

# Without mpirun; and a warm-up.
"$ZK_BUILD/zerokl" train tiny.yaml run.dir=alone run.steps=1000 2>log & job=$!
await alone/trajectories/step_000002.h5
kill -USR1 "$job"
stopped alone "SIGUSR1 reached rank 0" 2
"$ZK_BUILD/zerokl" sft warm.yaml run.dir=longer run.steps=100000 2>log & job=$!
await longer/checkpoints/step_000000/DONE
kill -TERM "$job"
ended
[ $code -eq 3 ] || { cat log >&2; fail "sft: exit code $code"; }
one_error "interrupted: SIGTERM" longer/checkpoints/step_
echo "stops: a checkpoint and exit code 3 each, and the same bits after"
