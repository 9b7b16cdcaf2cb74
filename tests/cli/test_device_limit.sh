#!/usr/bin/env bash
# A device that never answers, alone and under two workers: the job ends with one message that names the operation and the last good checkpoint, and the
# same command goes on to the bits of a run that nothing happened to. With ZK_DEVICE_LIMIT_S=0 nobody speaks.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
FAULTY=$ZK_BUILD/zerokl_faulty
tiny_run 3 eval.every=0 checkpoint.every=1 run.dir=whole
hashes() { sed -n 's/.*\("weights\/hash".*\)}/\1/p' "$1/metrics.jsonl"; }
keys=(model.path=runs/warm/checkpoints/step_000016 optimizer.lr=0.01 eval.every=0 checkpoint.every=1)
while read fault last doing; do
  for command in "" "workers 2"; do
    rm -rf stood
    expect 0 "$ZK" train tiny.yaml "${keys[@]}" run.dir=stood run.steps=1
    # shellcheck disable=SC2086
    ZK_FAULT=$fault:stall ZK_DEVICE_LIMIT_S=2 expect 1 $command timeout 60 "$FAULTY" train tiny.yaml "${keys[@]}" run.dir=stood
    [ "$(grep -c 'error: ' err)" = 1 ] || fail "$fault $command: not one message"
    for text in "rank 0 (pid " " has waited 2 s for cpu" ", whose last operation was " " $last" " while $doing step 2: a kernel never ends" \
      "the last good checkpoint is stood/checkpoints/step_000001: start the same command again"; do
      tells "$text"
    done
    grep -q 'warning: .*rank 0 has waited .* after 2 s (ZK_DEVICE_LIMIT_S) the job ends' err || fail "$fault $command: no warning before"
    expect 0 "$ZK" train tiny.yaml "${keys[@]}" run.dir=stood
    [ "$(hashes stood)" = "$(hashes whole)" ] || fail "$fault $command: other bits"
  done
done <<'EOF'
trainer:adamw adamw\ (trainer) training\ in
sampler:linear (sampler) sampling
EOF
# Without a limit it stands for as long as one looks.
rm -rf stood
ZK_FAULT=trainer:adamw:stall ZK_DEVICE_LIMIT_S=0 expect 137 timeout -s KILL 5 "$FAULTY" train tiny.yaml "${keys[@]}" run.dir=stood
! grep -E 'error: |warning: rank' err || fail "somebody speaks without a limit"
ZK_FAULT=trainer:adamw:stall expect 137 timeout -s KILL 5 "$FAULTY" train tiny.yaml "${keys[@]}" run.dir=stood
! grep -E 'error: |warning: rank' err || fail "somebody speaks long before the limit"
rm -rf stood
ZK_DEVICE_LIMIT_S=-1 expect 0 workers 2 "$ZK" train tiny.yaml "${keys[@]}" run.dir=stood
[ "$(hashes stood)" = "$(hashes whole)" ] || fail "two workers without a limit: other bits"
echo "a device that never answers: one message each, and the same bits"
