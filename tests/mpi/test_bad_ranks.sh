#!/usr/bin/env bash
# cost: 70
# A full disk, with one rank and with three, or SIGINT: one message with path and reason, nothing written is damaged, and the run goes on to the bits
# of one that nothing happened to.
. "$(dirname "$0")/common.sh"
reference
shim=$ZK_BUILD/tests/libkill_at.so

# finished RUN: digests of what was published, which nothing later may alter.
finished() { (cd "$1" && find . -name '*.tmp' -prune -o -type f \( -name '*.h5' -o -path '*/step_*' \) -print0 | sort -z | xargs -0r sha256sum); }
# one_error TEXT...: the log holds one line of error, and it says all of these.
one_error() {
  local text
  [ "$(grep -c 'error: ' log)" = 1 ] || { cat log >&2; fail "not one line of error"; }
  for text; do grep 'error: ' log | grep -F -- "$text" >/dev/null || { cat log >&2; fail "the error does not say: $text"; }; done
}
# resumes RUN WHAT [RANKS]: to the end, with the reference's bits, and over files that are as they were.
resumes() {
  local before
  before=$(finished "$1")
  workers "${3:-1}" "$ZK_BUILD/zerokl" train tiny.yaml run.dir="$1" 2>log || { cat log >&2; fail "$2: cannot resume"; }
  same_chain "$1" "$2"
  [ -z "$before" ] || (cd "$1" && sha256sum --quiet --ignore-missing -c <<<"$before") || fail "$2: a finished file was altered"
}
# first_steps RUN: the hashes of steps 0 to 2, and the digests of the first two trajectories.
first_steps() { chain "$1" | awk 'NF == 2 && !/h5$/ && n++ < 3 || /step_00000[12].h5$/'; }
# goes_on RUN WHAT: a run of many steps that was ended somewhere goes on to its next, and had the reference's bits.
goes_on() {
  local last
  last=$(find "$1/trajectories" -name 'step_*.h5' | sed 's/.*step_0*\(.*\).h5/\1/' | sort -n | tail -1)
  zerokl train tiny.yaml run.dir="$1" run.steps=$((last + 1)) 2>log || { cat log >&2; fail "$2: cannot resume"; }
  [ "$(first_steps "$1")" = "$(first_steps reference)" ] || fail "$2: other bits"
}
# await FILE PID
await() {
  until [ -f "$1" ]; do
    kill -0 "$2" 2>/dev/null || { cat log >&2; fail "$1 never came"; }
    sleep 0.02
  done
}

# ---- a full disk, in the middle of each kind of file
n=0
for moment in config.yaml:1 metrics.jsonl:1 metrics.jsonl:3 manifest.jsonl:5 step_000003.h5:1 optimizer.h5:3 state.json:2 DONE:2; do
  n=$((n + 1)) run=full$n code=0
  LD_PRELOAD=${LD_PRELOAD:+$LD_PRELOAD:}$shim ZK_KILL_AT=full:$moment zerokl train tiny.yaml run.dir=$run 2>log || code=$?
  [ $code -eq 2 ] || { cat log >&2; fail "disk full at $moment: exit code $code"; }
  one_error "$run/" "${moment%:*}" 'No space left on device'
  resumes $run "disk full at $moment"
done
# The kernel's own limit on a file: the weights are too large for it.
code=0
(trap '' XFSZ; ulimit -f 40; "$ZK_BUILD/zerokl" train tiny.yaml run.dir=limit 2>log) || code=$?
[ $code -eq 2 ] || { cat log >&2; fail "a file larger than the limit: exit code $code"; }
one_error limit/checkpoints 'File too large'
resumes limit "a file larger than the limit"
# With three ranks, all of which end, and one speaks.
code=0
LD_PRELOAD=${LD_PRELOAD:+$LD_PRELOAD:}$shim ZK_KILL_AT=full:step_000003.h5:1 workers 3 "$ZK_BUILD/zerokl" train tiny.yaml run.dir=limit3 2>log || code=$?
[ $code -eq 2 ] || { cat log >&2; fail "disk full under three ranks: exit code $code"; }
one_error limit3/trajectories/step_000003.h5 'No space left on device'
resumes limit3 "disk full under three ranks" 3

# ---- Ctrl-C, which a script hides from what it puts in the background
env --default-signal=INT "$ZK_BUILD/zerokl" train tiny.yaml run.dir=interrupted run.steps=500 2>log & pid=$! code=0
await interrupted/trajectories/step_000002.h5 $pid
kill -INT $pid
wait $pid || code=$?
[ $code -ne 0 ] || fail "SIGINT and exit code 0"
goes_on interrupted SIGINT
echo "failures: one message each, and the same bits after"
