#!/usr/bin/env bash
# cost: 70
# command.run as reward: the same bits for any number of workers and any order of answers; what fails stops the run or counts as 0; verify needs no program.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
tiny_config tiny.yaml tiny 2
tiny_config warm.yaml warm 16
expect 0 "$ZK" sft warm.yaml eval.every=0
train() { "$ZK" train tiny.yaml model.path=runs/warm/checkpoints/step_000016 optimizer.lr=0.01 "$@"; }
hashes() { grep -o '"weights/hash.*' "runs/$1/metrics.jsonl"; }

# The task's own reward, 1 where the completion is the label, by a program that answers in an order of its own.
cat >reward.sh <<'E'
while IFS= read -r line; do
  id=${line#*\"id\": } id=${id%%,*}
  said=${line#*\"completion\": \"} said=${said%%\"*}
  want=${line#*\"label\": \"} want=${want%%\"*}
  reward=0
  [ "$said" != "$want" ] || reward=1
  sleep "0.00$(((id * 7 + $$) % 10))"
  echo "{\"id\": $id, \"reward\": $reward, \"components\": {\"length\": ${#said}}}"
done
E
use=('task.rewards=[command]' 'command.components=[length]' 'command.run=sh reward.sh')
expect 0 train run.name=own
expect 0 train run.name=one "${use[@]}" command.processes=1
hashes own >own
hashes one >one
same own one
# The examples: one is the task's own reward once more, the other has more to say.
expect 0 train run.name=shell 'task.rewards=[command]' "command.run=sh $ZK_SOURCE/experiments/rewards/reward.sh"
hashes shell >shell
same own shell
if command -v python3 >/dev/null; then
  expect 0 train run.name=python 'task.rewards=[task, "command=0.1"]' 'command.components=[vowels]' "command.run=python3 $ZK_SOURCE/experiments/rewards/reward.py"
  grep -q '"reward/command": 0\.[0-9]*[1-9].*"reward/vowels": [0-9.]*[1-9].*"command/errors": 0' runs/python/metrics.jsonl || fail "the example in Python gives nothing"
fi
grep -q '"reward/command": .*"reward/length": .*"command/errors": 0' runs/one/metrics.jsonl || fail "components are not logged"
for n in 2 3; do
  expect 0 workers $n "$ZK" train tiny.yaml model.path=runs/warm/checkpoints/step_000016 optimizer.lr=0.01 run.name=one "run.dir=runs/n$n" "${use[@]}" command.processes=5
  for step in 1 2; do same "runs/one/trajectories/step_00000$step.h5" "runs/n$n/trajectories/step_00000$step.h5"; done
  hashes "n$n" >more
  same one more
done
# Which prompts a step takes may depend on rewards, never on who had them first: answers in quite other orders, and samples that get none.
cat >slow.sh <<'E'
while IFS= read -r line; do
  id=${line#*\"id\": } id=${id%%,*}
  p=${line#*\"prompt_id\": } p=${p%%,*}
  s=${line#*\"sample\": } s=${s%%,*}
  said=${line#*\"completion\": \"} said=${said%%\"*}
  want=${line#*\"label\": \"} want=${want%%\"*}
  reward=0
  [ "$said" != "$want" ] || reward=1
  k=$(((p * 5 + s * 3) % 10))
  [ "$ORDER" = up ] || k=$((9 - k))
  sleep "0.0$k"
  echo "$p $s" >>"answered-$RUN"
  case $want in [a-d]) [ "$s" != 1 ] || exit 1 ;; esac
  echo "{\"id\": $id, \"reward\": $reward}"
done
E
dynamic() { # NAME RANKS ORDER KEY=VALUE...
  local name=$1 ranks=$2 order=$3
  shift 3
  ORDER=$order RUN=$name expect 0 workers "$ranks" "$ZK" train tiny.yaml model.path=runs/warm/checkpoints/step_000016 optimizer.lr=0.01 run.name=dynamic "run.dir=runs/$name" \
    eval.every=0 algorithm.dynamic_sampling=true 'task.rewards=[command]' 'command.run=sh slow.sh' command.on_error=zero command.retries=0 command.processes=6 "$@"
}
dynamic up 1 up
dynamic down 1 down
dynamic three 3 down rollout.max_batch=7
grep -q '"command/errors": [1-9]' runs/up/metrics.jsonl || fail "every sample has an answer"
grep -q '"sampling/prompts_tried": \([7-9]\|[1-9][0-9]\)' runs/up/metrics.jsonl || fail "no prompt was dropped"
for other in down three; do
  ! cmp -s answered-up "answered-$other" || fail "$other: the answers came in the same order"
  for step in 1 2; do same "runs/up/trajectories/step_00000$step.h5" "runs/$other/trajectories/step_00000$step.h5"; done
  cmp -s <(hashes up) <(hashes $other) || fail "$other: other bits"
done
# The control: a program that rewards whoever comes third gives other bits in another order.
sed 's/^  reward=0/  reward=$((id % 3 == 0))/; s/^  \[.*//' reward.sh >order.sh
expect 0 train run.name=third "${use[@]}" 'command.run=sh order.sh' command.processes=1
expect 0 train run.name=other "${use[@]}" 'command.run=sh order.sh' command.processes=1 rollout.max_batch=3
! cmp -s <(hashes third) <(hashes other) || fail "the order of answers could not matter"
sed -i 's/^  echo "{/  reward=$(($(wc -l <"answered-$RUN") % 3 == 0))\n&/' slow.sh
dynamic third-up 1 up
dynamic third-down 1 down
! cmp -s <(hashes third-up) <(hashes third-down) || fail "with dynamic sampling the order of answers could not matter"

# A resume takes the answers of steps that are on disk from there: this program would say something else, in another order.
cp -r runs/third runs/again
rm -r runs/again/checkpoints/step_000002
expect 0 workers 2 "$ZK" train tiny.yaml model.path=runs/warm/checkpoints/step_000016 optimizer.lr=0.01 run.name=third run.dir=runs/again "${use[@]}" 'command.run=sh order.sh' \
  rollout.max_batch=3
tells 'step 1: rewards and replies of command.run are those that runs/again/trajectories/step_000001.h5 holds'
cmp -s <(hashes third) <(hashes again) || fail "a resume asked again"
# Steps are read from disk while nothing is written there: many of them in a row, time and again.
expect 0 train run.name=many run.steps=10 checkpoint.every=0 eval.every=0 "${use[@]}"
for _ in 1 2 3; do
  rm -rf runs/more && cp -r runs/many runs/more
  rm -r runs/more/checkpoints/step_000010
  sed -i '2,$d' runs/more/metrics.jsonl
  expect 0 train run.name=many run.dir=runs/more run.steps=10 checkpoint.every=0 eval.every=0 "${use[@]}"
  cmp -s <(hashes many) <(hashes more) || fail "a resume of ten steps gives other bits"
done
# But not where its completions are others than those on disk: rewards of one text must not train another.
cp -r runs/third runs/stale
"$TAMPER" flip runs/stale trajectories/step_000002.h5 sample/tokens 0 0
"$TAMPER" reseal runs/stale
rm -r runs/stale/checkpoints/step_000002
expect 2 train run.name=third run.dir=runs/stale "${use[@]}" 'command.run=sh order.sh' command.processes=1
tells 'step_000002.h5 holds other completions than are sampled now, from prompt '

# ---- the audit: the program is gone, what it said is in the archive
mv reward.sh gone.sh
expect 0 "$ZK" verify runs/n2 --replay
tells 'taken as they were recorded'
says 'reward                            60 of 60          0  -'
cp -r runs/n2 runs/x
"$TAMPER" flip runs/x trajectories/step_000001.h5 sample/reward_component 4 22
"$TAMPER" reseal runs/x
expect 1 "$ZK" verify runs/x
says 'step 1, prompt 0, sample 2: reward '
mv gone.sh reward.sh

# ---- what fails: the samples of one letter in four have no answer
sed 's/^  reward=0/  case $want in [a-f]) echo "no luck with $want" >\&2; exit 7 ;; esac; reward=0/' reward.sh >fails.sh
expect 2 train run.name=stop eval.every=0 "${use[@]}" 'command.run=sh fails.sh'
tells 'no answer of command.run after 2 tries: it ended with exit code 7; its standard error ends: "no luck with '
[ "$(grep -c . err)" -le 2 ] || fail "more than one message"
expect 0 train run.name=zero "${use[@]}" 'command.run=sh fails.sh' command.on_error=zero command.retries=0
tells 'whose rewards by it count as 0; first: prompt '
read -r row sample < <(sed -n 's/.*step 1: command.run gave .*; first: prompt \([0-9]*\), sample \([0-9]*\):.*/\1 \2/p' err) || fail "no sample of step 1 is named"
grep -q '"command/errors": [1-9]' runs/zero/metrics.jsonl || fail "errors are not counted"
expect 0 workers 2 "$ZK" train tiny.yaml model.path=runs/warm/checkpoints/step_000016 optimizer.lr=0.01 run.name=zero run.dir=runs/zero2 "${use[@]}" 'command.run=sh fails.sh' \
  command.on_error=zero command.retries=0
same runs/zero/trajectories/step_000002.h5 runs/zero2/trajectories/step_000002.h5
expect 0 "$ZK" verify runs/zero --replay

# An audit believes no reward beside a failure.
group=$(sed -n 's/.*samples_per_prompt: *\([0-9]*\).*/\1/p' runs/zero/config.yaml)
cp -r runs/zero runs/y
"$TAMPER" flip runs/y trajectories/step_000001.h5 sample/reward_component $((2 * (row * group + sample))) 29
"$TAMPER" reseal runs/y
expect 1 "$ZK" verify runs/y
says "step 1, prompt $row, sample $sample: command 1.08420217e-19 (0x20000000) is stored, 0 (0x00000000) comes out"

# ---- a stop while the program thinks: nothing is left
"$ZK" train tiny.yaml model.path=runs/warm/checkpoints/step_000016 run.name=now eval.every=0 "${use[@]}" 'command.run=sleep 4242 & echo $! $$ >pids; mv pids here; exec sleep 4242' >out 2>err &
pid=$!
for _ in $(seq 400); do [ ! -s here ] || break; sleep 0.05; done
[ -s here ] || fail "the program was not started"
kill -TERM $pid
code=0
wait $pid || code=$?
[ $code = 3 ] || fail "exit code $code after SIGTERM"
for p in $(cat here); do ! kill -0 "$p" 2>/dev/null || fail "process $p of the program is still there"; done
