#!/usr/bin/env bash
# cost: 70
# A program that sleeps, crashes, babbles, says nothing, floods or leaves children behind, for some samples of a run: as command.on_error says it stops the run with one
# message, or counts as 0 for those samples and no others; no process is left. One that cannot start is told before anything is sampled.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
tiny_config tiny.yaml tiny 2
tiny_config warm.yaml warm 16
expect 0 "$ZK" sft warm.yaml eval.every=0
use=(model.path=runs/warm/checkpoints/step_000016 optimizer.lr=0.01 eval.every=0 'task.rewards=[command]' command.retries=0)
train() { timeout 100 "$ZK" train tiny.yaml "${use[@]}" "$@"; }
hashes() { grep -o '"weights/hash.*' "runs/$1/metrics.jsonl"; }
column() { h5dump -d "sample/$2" -y -w 1 -A 0 "runs/$1/trajectories/step_000001.h5" | sed -n '/DATA {/,/}/p' | grep -o '[0-9][0-9.e+-]*'; } # of step 1, a value a line
sleeper=1000.$$ # what programs of this test sleep
nobody() {
  for _ in $(seq 40); do pgrep -f "sleep $sleeper" >out || return 0; sleep 0.05; done
  fail "$1: processes are left"
}

# program NAME WHAT: the task's own reward, but WHAT in the place of an answer where the label is one of a to h.
program() {
  cat >"$1.sh" <<E
while IFS= read -r line; do
  id=\${line#*\"id\": } id=\${id%%,*}
  said=\${line#*\"completion\": \"} said=\${said%%\"*}
  want=\${line#*\"label\": \"} want=\${want%%\"*}
  case \$want in [a-h]) $2 ;; esac
  reward=0
  [ "\$said" != "\$want" ] || reward=1
  echo "{\"id\": \$id, \"reward\": \$reward}"
done
E
}
program right :
expect 0 train run.name=right 'command.run=sh right.sh'
column right reward >right

# takes NAME CODE MESSAGE WHAT [KEY=VALUE...]: both ways of taking it. CODE is what sample/reward_detail has for it.
takes() {
  local name=$1 code=$2 message=$3
  program "$name" "$4"
  shift 4
  expect 2 train run.name="$name-stop" "command.run=exec sh $name.sh" "$@"
  tells "no answer of command.run after 1 tries: $message"
  [ "$(grep -c 'error: ' err)" = 1 ] || fail "$name: not one message"
  [ ! -e "runs/$name-stop/trajectories/step_000001.h5" ] || fail "$name: a step without its rewards is on disk"
  nobody "$name, stop"
  expect 0 train run.name="$name" "command.run=exec sh $name.sh" command.on_error=zero command.processes=3 "$@"
  nobody "$name, zero"
  # Those without an answer have 0 and the reason, all others what the right program gives them: nothing has moved to another sample.
  paste right <(column "$name" reward) <(column "$name" reward_detail) >all
  awk -v code="$code" '$3 == 0 && $2 == $1 { n++; right += $1 } $3 == code && $2 == 0 { none++; hidden += $1 }
    END { exit !(n + none == NR && NR == 30 && right > 0 && hidden > 0) }' all || { cat all >&2; fail "$name: rewards, with it, and reasons are not as they should be"; }
  # What went wrong, and when it was noticed, plays no part.
  [ -s hashes ] || hashes "$name" >hashes
  cmp -s <(head -n "$(hashes "$name" | wc -l)" hashes) <(hashes "$name") || fail "$name: other bits"
}
takes crashes 2 'it was killed by signal 11' 'kill -SEGV $$'
takes ends 2 'it ended with exit code 0' 'exit'
takes babbles 3 'its answer is not a JSON object' 'echo good morning; continue'
takes empty 3 'its answer is not a JSON object' 'echo; continue'
takes floods 3 'it said 1048576 bytes without the end of a line' "tr '\\\\0' x </dev/zero"
takes another 3 'its answer has not the "id" of the request' 'id=$((id + 1))'
takes nan 3 'its answer is not a JSON object' 'echo "{\"id\": $id, \"reward\": NaN}"; continue'
takes missing 4 'its answer has no finite number "reward"' 'echo "{\"id\": $id}"; continue'
takes large 4 'its answer has no finite number "reward"' 'echo "{\"id\": $id, \"reward\": 1e300}"; continue' # in a float
late=(command.timeout_s=2 command.processes=8 run.steps=1) # long enough for a right answer on a busy machine
takes sleeps 1 'no answer in 2 s' "sleep $sleeper" "${late[@]}"
takes mute 1 'no answer in 2 s' 'continue' "${late[@]}"
takes parent 2 'it ended with exit code 5' "(sleep $sleeper &); (trap \"\" HUP TERM; sleep $sleeper) & exit 5"
expect 0 workers 2 "$ZK" train tiny.yaml "${use[@]}" run.name=sleeps run.dir=runs/sleeps2 'command.run=exec sh sleeps.sh' command.on_error=zero "${late[@]}"
same runs/sleeps/trajectories/step_000001.h5 runs/sleeps2/trajectories/step_000001.h5
cmp -s hashes <(hashes right) && fail "samples without an answer change nothing"

# Children that stay while it answers go when it does; a right answer counts.
program children "(sleep $sleeper &); sleep $sleeper &"
expect 0 train run.name=children 'command.run=sh children.sh'
nobody children
cmp -s <(hashes right) <(hashes children) || fail "children change bits"

# ---- it cannot start, whatever counts for an answer
for on_error in stop zero; do
  expect 2 train "run.name=none-$on_error" 'command.run=exec sh nowhere/reward.sh' command.on_error=$on_error eval.every=1
  tells "before it was asked anything"
  tells 'its standard error ends: "'
  tells 'nowhere/reward.sh'
done
expect 2 workers 2 "$ZK" train tiny.yaml "${use[@]}" run.name=none 'command.run=no-such-program-anywhere'
tells 'command.run: it ended with exit code 127 before it was asked anything'
[ "$(grep -c 'error: ' err)" = 1 ] || fail "not one message"
expect 2 "$ZK" eval tiny.yaml "${use[@]}" 'command.run=no-such-program-anywhere'
tells 'exit code 127'
for run in none-stop none-zero; do
  [ ! -s runs/$run/metrics.jsonl ] || fail "$run: something was sampled before it was told"
done
