#!/usr/bin/env bash
# log.tensorboard: the event file has every number of metrics.jsonl once, also after a kill in the middle of a record, after a kill between
# metrics and event, and when it is asked for later; read by code of our own, and by TensorBoard's own reader where that is installed.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
command -v python3 >/dev/null || skip "there is no python3"
python=$(python_with tensorboard) || python=
reader=$ZK_SOURCE/tests/tools/read_events.py
events=tensorboard/events.out.tfevents.zerokl

equal() { # RUN LINES: both readers find the lines of metrics, LINES of them
  expect 0 "${python:-python3}" "$reader" "$1" ${python:+--tensorboard}
  says "records: $2 steps"
  [ -z "$python" ] || says "TensorBoard: $2 steps"
}

tiny_config tiny.yaml tiny 4
expect 0 "$ZK" train tiny.yaml log.tensorboard=true run.dir=whole
equal whole 5
cp whole/metrics.jsonl kept.jsonl # the reader sees what is not there, and what is there and not the same
sed -i '$d' whole/metrics.jsonl
expect 1 python3 "$reader" whole
tells "steps [0, 1, 2, 3, 4], and metrics.jsonl has 4 lines"
sed 's/"response\/length_mean": [0-9.]*/"response\/length_mean": 99.5/' kept.jsonl >whole/metrics.jsonl
expect 1 python3 "$reader" whole
tells "step 1 is"
cp kept.jsonl whole/metrics.jsonl
cp whole/$events damaged # and a flipped bit
printf '\377' | dd of=whole/$events bs=1 seek=200 conv=notrunc 2>/dev/null
expect 1 python3 "$reader" whole
tells "sum is wrong"

# Killed in the middle of an event (its half is on the disk), and started again.
expect 137 env LD_PRELOAD="${LD_PRELOAD:+$LD_PRELOAD:}$ZK_BUILD/tests/libkill_at.so" ZK_KILL_AT=write:tfevents:4 "$ZK" train tiny.yaml log.tensorboard=true run.dir=killed
expect 1 python3 "$reader" killed # torn
expect 0 "$ZK" train tiny.yaml log.tensorboard=true run.dir=killed
equal killed 5
# Killed between the line of metrics and its event.
expect 137 env LD_PRELOAD="${LD_PRELOAD:+$LD_PRELOAD:}$ZK_BUILD/tests/libkill_at.so" ZK_KILL_AT=write:metrics.jsonl:4 "$ZK" train tiny.yaml log.tensorboard=true run.dir=between
expect 0 "$ZK" train tiny.yaml log.tensorboard=true run.dir=between run.steps=6
equal between 7
# Asked for only later; damaged meanwhile; sft writes them too, and verify has nothing against them.
expect 0 "$ZK" train tiny.yaml run.dir=later
[ ! -e later/tensorboard ] || fail "an event file that nobody asked for"
expect 0 "$ZK" train tiny.yaml run.dir=later log.tensorboard=true run.steps=5
equal later 6
expect 0 "$ZK" train tiny.yaml run.dir=whole log.tensorboard=true
tells "not whole"
equal whole 5
expect 0 "$ZK" sft tiny.yaml run.dir=sft log.tensorboard=true
equal sft 5
expect 0 "$ZK" verify later
[ -n "$python" ] || echo "TensorBoard's own reader: skipped, no Python here has the package tensorboard (tests/run.sh installs it)"
