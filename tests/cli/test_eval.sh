#!/usr/bin/env bash
# `zerokl eval`: the held-out set; the same numbers as a run's own evaluation, for any number of workers.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# field KEY: its value in the object on stdout
field() { sed -n "s|.*\"$1\": \([^,}]*\).*|\1|p" out; }

tiny_config warm.yaml warm 60
tiny_config tiny.yaml tiny 1
heldout="task.heldout=24 task.max_length=2"
expect 0 "$ZK" sft warm.yaml $heldout
model=model.path=runs/warm/checkpoints/step_000060
expect 0 "$ZK" train tiny.yaml $model $heldout eval.every=1 eval.samples=5
expect 0 "$ZK" eval tiny.yaml $model $heldout eval.samples=5
tells "held-out accuracy"
[ "$(wc -l <out)" = 1 ] || fail "not one object"
for key in eval/accuracy eval/avg@5 eval/pass@5 eval/length_mean eval/prompts; do
  said=$(field "$key") run=$(sed -n "1s|.*\"$key\": \([^,}]*\).*|\1|p" runs/tiny/metrics.jsonl)
  [ -n "$said" ] && [ "$said" = "$run" ] || fail "$key: eval says $said, the run says $run"
done
[ "$(field eval/prompts)" = 24 ] || fail "not all held-out items were used"
awk -v a="$(field eval/avg@5)" -v p="$(field eval/pass@5)" 'BEGIN { exit !(a > 0 && a <= p && p <= 1) }' || fail "avg@5 or pass@5 is out of range"
sed 's/"time.eval".*//' out >alone
# pass@k of fewer samples than were drawn: pass@1 is avg@n, pass@2 lies between that and pass@n.
for k in 1 2; do
  expect 0 "$ZK" eval tiny.yaml $model $heldout eval.samples=5 eval.k=$k
  eval "pass_$k=$(field eval/pass@$k)"
done
awk -v a="$(field eval/avg@5)" -v one="$pass_1" -v two="$pass_2" -v all="$(sed -n 's|.*"eval/pass@5": \([^,}]*\).*|\1|p' alone)" \
  'BEGIN { d = a - one; exit !(d * d < 1e-20 && one < two && two < all) }' || fail "pass@1 $pass_1, pass@2 $pass_2"
for schedule in "rollout.max_batch=3" "rollout.page_tokens=16 rollout.prefill_chunk=2"; do
  expect 0 "$ZK" eval tiny.yaml $model $heldout eval.samples=5 $schedule
  sed 's/"time.eval".*//' out >other
  same alone other
done
expect 0 workers 2 "$ZK" eval tiny.yaml $model $heldout eval.samples=5
sed 's/"time.eval".*//' out >two
same alone two

expect 0 "$ZK" eval tiny.yaml $model $heldout eval.prompts=3 eval.samples=0
[ "$(field eval/prompts)" = 3 ] || fail "eval.prompts is not kept"
grep -q 'avg@' out && fail "avg@k without samples"
expect 0 "$ZK" eval tiny.yaml # a model from scratch
expect 2 "$ZK" eval tiny.yaml task.heldout=0
tells "held-out"
expect 2 "$ZK" eval
expect 2 "$ZK" eval missing.yaml
tells missing.yaml
expect 0 "$ZK" eval --dry-run tiny.yaml
says "memory of one of 1 worker"
echo "eval: all as it should be"
