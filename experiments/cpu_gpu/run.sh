#!/usr/bin/env bash
# One run in f32 and in bf16 on a GPU, on this machine's CPU in every instruction set it has, and begun on one and ended on the other: one chain of
# hashes in each numerics. Without a GPU the GPU's chain is the one in results/gpu.json. --break: the CPU's runs add in a library's order.
. "$(dirname "${BASH_SOURCE[0]}")/../lib/experiment.sh"
zk_experiment cpu_gpu "$@"
recorded=experiments/cpu_gpu/results/gpu.json
if [ "$form" = gpu ]; then zk_needs_gpus 1
else [ -s $recorded ] || zk_skip "there is no $recorded, which holds a GPU's chains" "run experiments/cpu_gpu/run.sh --gpu --record on a machine with a Hopper GPU"; fi
[ -z "$breaks" ] || zk_needs_openblas
zk_program
steps=$(of_form 8 8 2)
export OMP_NUM_THREADS=1

# train RUN NUMERICS DEVICE STEPS: goes on where RUN is; both numerics begin at the same weights
train() {
  local keys=(device="$3" run.dir="$runs/$1" run.steps="$4" model.path="$runs/warm/checkpoints/step_000060")
  quietly "$runs/$1.log" "$zerokl" train experiments/lib/run.yaml "${keys[@]}" numerics="$([ -n "$breaks" ] && [ "$3" = cpu ] && echo vendor || echo "$2")"
}
add() { # NUMERICS WHERE RUN: a row, and whether it is the GPU's chain
  local chain
  chain=$(weights_chain "$runs/$3")
  zk_row numerics "$1" on "$2" "all hashes" "$chain" "weights/hash at the end" "$(last_hash "$runs/$3")" "mismatched tokens" "$(total "$runs/$3" mismatch/tokens)" \
    "of tokens" "$(total "$runs/$3" tokens/generated)"
  case $2 in GPU) ;; *) compared=$((compared + 1)); [ "$chain" = "$gpu_chain" ] || different=$((different + 1)) ;; esac
}
# The GPU's chain of these steps: measured here, or read from the committed results, whose rows hold it.
recorded_chain() { python3 -c 'import json, sys; print(next(r["all hashes"] for r in json.load(open(sys.argv[1]))["rows"][sys.argv[3]] if r["numerics"] == sys.argv[2] and r["on"] == "GPU"))' "$recorded" "$1" "$([ "$form" = tiny ] && echo "two steps" || echo rows)"; }

quietly "$runs/warm.log" "$zerokl" sft experiments/lib/warm.yaml device=cpu run.dir="$runs/warm"
compared=0 different=0
for numerics in f32 bf16; do
  if [ "$form" = gpu ]; then
    train "$numerics-gpu" $numerics cuda "$steps"
    gpu_chain=$(weights_chain "$runs/$numerics-gpu")
    add $numerics GPU "$numerics-gpu"
    # What the test's two steps give, for machines without a GPU.
    train "$numerics-gpu-2" $numerics cuda 2
    zk_row "table=two steps" numerics $numerics on GPU "all hashes" "$(weights_chain "$runs/$numerics-gpu-2")"
  else
    gpu_chain=$(recorded_chain $numerics) || zk_die "$recorded has no chain of $numerics"
  fi
  for isa in avx512 avx2 scalar; do
    [ "$form" != tiny ] || [ $isa = avx2 ] || continue
    ZK_CPU_ISA=$isa "$zerokl" check --quick --device cpu --operation add >/dev/null 2>&1 || { zk_say "$isa: this machine has it not"; continue; }
    zk_say "$numerics on the CPU, $isa"
    ZK_CPU_ISA=$isa train "$numerics-$isa" $numerics cpu "$steps"
    add $numerics "CPU, $isa" "$numerics-$isa"
  done
  [ "$form" = gpu ] || continue
  for first in cpu cuda; do
    second=$([ $first = cpu ] && echo cuda || echo cpu)
    train "$numerics-$first" $numerics $first $((steps / 2))
    train "$numerics-$first" $numerics $second "$steps"
    add $numerics "begun on $first, ended on $second" "$numerics-$first"
  done
done
zk_value "chains compared with the GPU's" $compared
zk_value "chains that differ" $different
zk_value "different weights in a run" "$(metric "$runs/f32-avx2" weights/hash | sort -u | wc -l)"
zk_finish
