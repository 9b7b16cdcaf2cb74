#!/usr/bin/env bash
# label: slow; cost: 50
# A rank of four that is killed at random moments (ZK_KILLS of them: 3), or stops answering: the job ends with one message that names it, what it did and the
# last good checkpoint, and the run goes on to the bits of one that nothing happened to.
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/run_control.sh"
reference
kills=${ZK_KILLS:-3}

for victim in 0 2; do
  start told$victim 4 run.steps=1000
  await told$victim/trajectories/step_000003.h5
  kill -9 "$(worker $victim)"
  ended
  [ $code -ne 0 ] || fail "rank $victim died and mpirun says all is well"
  one_error "rank $victim (pid " "died while " " step " "the last good checkpoint is told$victim/checkpoints/step_" "start the same command again"
done

ZK_WATCH_LIMIT_S=2 start mute 4 run.steps=1000
await mute/trajectories/step_000003.h5
kill -STOP "$(worker 3)"
ended
[ $code -ne 0 ] || fail "rank 3 stopped and mpirun says all is well"
one_error "rank 3 (pid " "has not answered for 2 s while " "the last good checkpoint is mute/checkpoints/step_"
finish mute "rank 3 stopped" 3

# All stopped and woken together is no failure.
ZK_WATCH_LIMIT_S=3 start paused 2 run.steps=1000
await paused/trajectories/step_000001.h5
both="$(worker 0) $(worker 1)"
# shellcheck disable=SC2086
kill -STOP $both
sleep 4
# shellcheck disable=SC2086
kill -CONT $both
next=$(printf 'paused/trajectories/step_%06d.h5' $(($(last_step paused) + 2)))
await "$next"
kill -9 "$(worker 1)"
ended

for round in $(seq "$kills"); do
  victim=$((RANDOM % 4)) before=$(last_step random)
  start random 4 run.steps=1000
  until id=$(worker $victim) && [ -n "$id" ]; do sleep 0.02; done
  joined "$id"
  # Every third somewhere in the start, the others some steps further on, anywhere in a step.
  [ $((round % 3)) -eq 0 ] || await "$(printf 'random/trajectories/step_%06d.h5' $((before + 1 + RANDOM % 2)))"
  sleep 0.$((RANDOM % 3))$((RANDOM % 10))
  kill -9 "$id"
  ended
  [ $code -ne 0 ] || fail "round $round: rank $victim died and mpirun says all is well"
  if [ $((round % 3)) -ne 0 ]; then one_error "rank $victim (pid $id on " "died while "; fi
  [ "$(grep -c 'error: ' log)" -le 1 ] || { cat log >&2; fail "round $round: more than one message"; } # none where rank 0 dies before all have joined
done
finish random "killed $kills times" 4
echo "lost ranks: one message each, and the same bits after $kills kills, $(last_step random) steps"
