#!/usr/bin/env bash
# limit: 400
# A run begun on one device goes on on the other, with the bits of a run that stayed: weights, optimiser state, trajectories.
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
long_task move
half=$(size 3 1) all=$(size 6 2)
# train NUMERICS DEVICE STEPS RUN
train() { expect 0 "$ZK" train move.yaml numerics="$1" device="$2" run.steps="$3" run.dir="$4"; }
for numerics in f32 bf16; do
  train $numerics cpu "$all" $numerics-cpu
  train $numerics cpu "$half" $numerics-begun-cpu
  train $numerics cuda "$all" $numerics-begun-cpu
  train $numerics cuda "$half" $numerics-begun-cuda
  train $numerics cpu "$all" $numerics-begun-cuda
  moves $numerics-cpu
  alike $numerics-cpu $numerics-begun-cpu "$numerics, begun on the CPU"
  alike $numerics-cpu $numerics-begun-cuda "$numerics, begun on the GPU"
done
diff <(chain f32-cpu) <(chain bf16-cpu) >/dev/null && fail "both numerics have the same bits"
echo "cross: the bits of one run"
