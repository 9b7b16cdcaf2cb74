#!/usr/bin/env bash
# limit: 150
# One worker of four is killed at 20 random moments, and one falls silent: each time one message names it, nobody is left, and the run goes on with
# 4, 3, 2 and 1 workers to the bits of one that nothing happened to.
#   ZK_KILLS=N: so many; ZK_SEED=N: the choices of an earlier time again; ZK_KILL_SECONDS=N: no more kills when so many have gone
. "$(dirname "${BASH_SOURCE[0]}")/../lib/multi.sh"
kills=${ZK_KILLS:-$(size 20 3)} seed=${ZK_SEED:-$$} most_s=${ZK_KILL_SECONDS:-$(size 110 10000)}
RANDOM=$seed SECONDS=0
shaken_run
echo "seed $seed; $ranks workers, $NUM_GPUS GPUs, device: $device; warm-up: $SECONDS s"

# begin: goes on with all workers until a step is done
begin() {
  local before from=$EPOCHREALTIME
  before=$(last_step)
  start $ranks "${train[@]}" run.steps=100000
  until [ "$(last_step)" -gt "$before" ]; do
    kill -0 "$job" 2>/dev/null || fail "it does not go on after step $before"
    sleep 0.02
  done
  started=$(awk -v a="$from" -v b="$EPOCHREALTIME" 'BEGIN { printf ", started in %.1f s", b - a }')
}

others=(3 2 1) done_kills=0
for round in $(seq "$kills"); do
  [ $SECONDS -lt "$most_s" ] || break
  victim=$((RANDOM % ranks)) wait_ms=$((RANDOM % 600)) in_start=$((round % 5 == 0)) started=""
  if [ $in_start = 1 ]; then
    wait_ms=$((wait_ms * 8)) # somewhere in the start
    start $ranks "${train[@]}" run.steps=100000
  else begin; fi # somewhere in one of the next steps
  id=$(worker $victim)
  joined "$id"
  sleep "$(awk -v ms=$wait_ms 'BEGIN { print ms / 1000 }')"
  kill -9 "$id"
  if [ $in_start = 1 ]; then lost; else lost "rank $victim (pid $id on " "died while " " step " "the last good checkpoint is $run/checkpoints/step_"; fi
  done_kills=$((done_kills + 1))
  echo "kill $round: rank $victim after $wait_ms ms of $([ $in_start = 1 ] && echo its start || echo "the steps from $(last_step)"); ended in $took s$started: $(sed -n 's/.*error: \(rank.*\); the last.*/\1/p' err)"
  [ $((round % 6)) -ne 4 ] || go_on "${others[round / 6 % 3]}"
done

ZK_WATCH_LIMIT_S=4 begin
victim=$((RANDOM % ranks)) id=$(worker $victim)
kill -STOP "$id"
lost "rank $victim (pid $id on " "has not answered for 4 s while " "the last good checkpoint is $run/checkpoints/step_"
echo "rank $victim fell silent; ended in $took s: $(sed -n 's/.*error: //p' err)"

go_on 4
unshaken "$done_kills kills and a silence"
