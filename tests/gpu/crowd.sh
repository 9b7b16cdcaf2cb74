#!/usr/bin/env bash
# limit: 170
# Runs beside each other on one GPU, which start and end while others compute: each of them ends, with the bits of a run alone. One that stands still is
# named, and where cuda-gdb is installed with the kernel that its GPU is in.
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# On a GPU a model whose evaluation gives the kernel of long prompts more pieces than there are multiprocessors, most of them of one tile of keys.
long_task plan "$(size 'layers: 2, hidden: 64, heads: 9, kv_heads: 3, head_dim: 64, intermediate: 128, max_positions: 256' '')"
places=$(size 8 2) seconds=$(size 90 1) patience=$(size 45 600)
keys=(numerics=bf16 device=cuda:0 run.steps="$(size 3 1)" checkpoint.every=0 eval.every=1 task.heldout="$(size 40 8)" eval.prompts="$(size 40 8)"
  rollout.prefill_chunk=8192 rollout.max_batch=64)
expect 0 "$ZK" train plan.yaml "${keys[@]}" run.dir=alone
moves alone
# where PID: in which kernel, for the log
where() {
  command -v cuda-gdb >/dev/null || { echo "no cuda-gdb to say in which kernel"; return 0; }
  timeout 50 cuda-gdb -p "$1" -batch -ex "info cuda kernels" -ex "info cuda warps" -ex "thread apply all backtrace 12" 2>&1 || true
}
# place NUMBER: one run after another; a line for each in ended.NUMBER
place() {
  local run pid begun n=0
  while [ $n = 0 ] || [ $SECONDS -lt "$seconds" ]; do
    n=$((n + 1)) run=crowd-$1-$n begun=$SECONDS
    "$ZK" train plan.yaml "${keys[@]}" run.dir="$run" >"$run.log" 2>&1 &
    pid=$!
    while kill -0 $pid 2>/dev/null; do
      if [ $((SECONDS - begun)) -gt "$patience" ]; then
        { echo "$run stands still"; tail -3 "$run.log"; where $pid; } >"still.$1"
        kill -KILL $pid
      fi
      sleep 0.1
    done
    wait $pid || { [ -f "still.$1" ] || tail -3 "$run.log" >"still.$1"; return 0; }
    echo "$run" >>"ended.$1"
  done
}
SECONDS=0
for p in $(seq "$places"); do place "$p" & done
wait
! cat still.* 2>/dev/null || fail "a run did not end as it should"
for run in $(cat ended.*); do diff <(chain alone) <(chain "$run") >/dev/null || fail "$run has other bits than the run alone"; done
expect 0 "$ZK" train plan.yaml "${keys[@]}" run.dir=seed seed=4
diff <(chain alone) <(chain seed) >/dev/null && fail "another seed gives the same bits"
echo "$(cat ended.* | wc -l) runs beside each other: the bits of one alone"
