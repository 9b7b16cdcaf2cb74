#!/usr/bin/env bash
# limit: 150
# One worker of four is killed at 20 random moments, and one falls silent: each time one message names it, nobody is left, and the run goes on with
# 4, 3, 2 and 1 workers to the bits of one that nothing happened to.
#   ZK_KILLS=N: so many; ZK_SEED=N: the choices of an earlier time again; ZK_KILL_SECONDS=N: no more kills when so many have gone
. "$(dirname "${BASH_SOURCE[0]}")/../lib/multi.sh"
kills=${ZK_KILLS:-$(size 20 3)} seed=${ZK_SEED:-$$} most_s=${ZK_KILL_SECONDS:-$(size 110 10000)}
RANDOM=$seed SECONDS=0
run=$ZK_TMP/killed ranks=4 device=cuda
[ "$NUM_GPUS" -ge 2 ] || device=cuda:0
[ "$NUM_GPUS" -lt 2 ] || [ "$NUM_GPUS" -ge 4 ] || ranks=$NUM_GPUS
echo "seed $seed; $ranks workers, $NUM_GPUS GPUs, device: $device"

long_task plan "architecture: qwen3, layers: 2, hidden: 64, heads: 4, kv_heads: 2, head_dim: 16, intermediate: 128, max_positions: 256"
train=("$ZK" train plan.yaml numerics=bf16 "device=$device" "run.dir=$run" checkpoint.every=2 checkpoint.keep=2)
echo "warm-up: $SECONDS s"

# the last step of which there is a line
last_step() { sed -n '$s/^{"step": \([0-9]*\).*/\1/p' "$run/metrics.jsonl" 2>/dev/null | grep . || echo 0; }
# lost WORDS...: $job ended, with one line of error that says all of these, and has left nobody behind
lost() {
  local text begin=$EPOCHREALTIME
  ended
  took=$(awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
  [ $code -ne 0 ] || fail "a worker is lost and mpirun says all is well"
  for _ in $(seq 50); do
    pgrep -f "run.dir=$run" >/dev/null || break
    sleep 0.1
  done
  ! pgrep -f "run.dir=$run" >/dev/null || fail "workers are left"
  [ $# -eq 0 ] && [ "$(grep -c 'error: ' err)" = 0 ] && return # one that died before it had joined is mpirun's to name
  [ "$(grep -c 'error: ' err)" = 1 ] || fail "not one line of error"
  for text; do grep 'error: ' err | grep -qF -- "$text" || fail "the error does not say: $text"; done
}
# begin: goes on with all workers until a step is done
begin() {
  local before
  before=$(last_step)
  start $ranks "${train[@]}" run.steps=100000
  until [ "$(last_step)" -gt "$before" ]; do
    kill -0 "$job" 2>/dev/null || fail "it does not go on after step $before"
    sleep 0.02
  done
}
# go_on WORKERS: two more steps, to an end
go_on() {
  local n=$1
  expect 0 workers "$n" "${train[@]}" run.steps=$(($(last_step) + 2))
  echo "$n workers went on to step $(last_step)"
}

others=(3 2 1 4) done_kills=0
for round in $(seq "$kills"); do
  [ $SECONDS -lt "$most_s" ] || break
  victim=$((RANDOM % ranks)) wait_ms=$((RANDOM % 600)) in_start=$((round % 5 == 0))
  if [ $in_start = 1 ]; then
    wait_ms=$((wait_ms * 8)) # somewhere in the start
    start $ranks "${train[@]}" run.steps=100000
  else begin; fi # somewhere in one of the next steps
  id=$(worker $victim)
  sleep "$(awk -v ms=$wait_ms 'BEGIN { print ms / 1000 }')"
  kill -9 "$id"
  if [ $in_start = 1 ]; then lost; else lost "rank $victim (pid $id on " "died while " " step " "the last good checkpoint is $run/checkpoints/step_"; fi
  done_kills=$((done_kills + 1))
  echo "kill $round: rank $victim after $wait_ms ms of $([ $in_start = 1 ] && echo its start || echo "the steps from $(last_step)"); ended in $took s: $(sed -n 's/.*error: \(rank.*\); the last.*/\1/p' err)"
  [ $((round % 5)) -ne 4 ] || go_on "${others[round / 5 % 4]}"
done

ZK_WATCH_LIMIT_S=4 begin
victim=$((RANDOM % ranks)) id=$(worker $victim)
kill -STOP "$id"
lost "rank $victim (pid $id on " "has not answered for 4 s while " "the last good checkpoint is $run/checkpoints/step_"
echo "rank $victim fell silent; ended in $took s: $(sed -n 's/.*error: //p' err)"

go_on 2
steps=$(last_step)
expect 0 "$ZK" train plan.yaml numerics=bf16 device=cuda:0 run.dir=reference run.steps="$steps" checkpoint.every=0
moves reference
alike reference "$run" "$done_kills kills and a silence in $steps steps"
