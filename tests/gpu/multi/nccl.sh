#!/usr/bin/env bash
# limit: 150
# Among NCCL's transfers one worker dies, or its NCCL fails, or its transfers get lost: the job ends within 60 s with one message that names the worker,
# the operation and the last good checkpoint, and goes on to the bits of one that nothing happened to.
. "$(dirname "${BASH_SOURCE[0]}")/../lib/multi.sh"
needs_gpus 2
shim=$ZK_BUILD/tests/libnccl_at.so
[ -f "$shim" ] || { echo "no $shim"; exit 77; }
shaken_run
victim=$((ranks - 1))
# befalls WHAT TEXT...: at a group of transfers some steps on
befalls() {
  local what=$1
  shift
  start $ranks env LD_PRELOAD="$shim" ZK_NCCL_AT="$what" ZK_NCCL_RANK=$victim "${train[@]}" run.steps=100000
  id=$(worker $victim)
  lost "$@" "the last good checkpoint is $run/checkpoints/step_" "start the same command again"
  echo "$what: ended after step $(last_step), $took s after its start: $(sed -n 's/.*error: //p' err)"
}
befalls die:12 "rank $victim (pid " "died while " " step "
befalls fail:12 "communication failed: rank $victim of $ranks: " "NCCL: " " while " " step "
begin=$SECONDS
befalls lose:12 "communication failed: rank 0 of $ranks: " "did not end within " "; rank $victim (pid " "is not in it: "
[ $((SECONDS - begin)) -lt 75 ] || fail "it took $((SECONDS - begin)) s, with its start"
go_on $ranks
unshaken "a death, a failure and a loss"
