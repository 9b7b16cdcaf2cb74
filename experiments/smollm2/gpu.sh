#!/usr/bin/env bash
# SmolLM2-135M-Instruct on one GPU in bf16: 100 GRPO steps, an audit of all of it on the GPU and of 20 sequences on a CPU, and the same run in
# vendor's arithmetic for comparison. Needs no network. Exits 0 only if no token differs, every audit agrees and held-out accuracy rises by 0.1.
#   experiments/smollm2/gpu.sh [MODEL [PHASE...]]   MODEL: the folder that setup.sh makes (default models/SmolLM2-135M-Instruct)
#                                                   PHASE: train, verify, audit, vendor (default: all, in this order)
#   ZK_BUILD=DIR   takes DIR/zerokl instead of building        ZK_RUNS=DIR   where the run directories go (default runs)
#   ZK_SET="KEY=VALUE..."   other values for a trial, such as "run.steps=2 device=cpu"
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib/packages.sh
. "$here/../lib/packages.sh"
zk_help "$@"
cd "$ZK_ROOT"

model=${1:-models/SmolLM2-135M-Instruct}
shift || true
phases=${*:-train verify audit vendor}
runs=${ZK_RUNS:-runs}
run=$runs/smollm2-gpu vendor=$runs/smollm2-gpu-vendor
read -ra set_keys <<<"${ZK_SET:-}"
[ -s "$model/model.safetensors" ] || zk_die "$model has no model: experiments/smollm2/setup.sh makes it where there is a network"
if [ -z "${ZK_BUILD:-}" ]; then
  zk_packages build
  zk_build -DZK_CUDA=ON -DZK_BUILD_TESTS=OFF
  ZK_BUILD=build
fi
zerokl=$ZK_BUILD/zerokl
[ -x "$zerokl" ] || zk_die "there is no $zerokl"
zk_mpi_environment

train() {  # run directory, KEY=VALUE...
  local dir=$1
  shift
  "$zerokl" train "$here/gpu.yaml" "model.path=$model" "run.dir=$dir" "${set_keys[@]}" "$@"
}
values() { sed -n "s|.*\"$2\": \([^,}]*\).*|\1|p" "$1/metrics.jsonl"; }  # run directory, key: one value a line
total() { values "$1" "$2" | awk '{ n += $1 } END { printf "%d", n }'; }

# report RUN: accuracy, tokens that differ, the largest difference of a log-probability, the divergence between sampler and trainer, and time
report() {
  local seconds
  seconds=$(values "$1" time/step | awk '{ n += $1 } END { printf "%.0f", n }')
  printf '%s\n' "$1"
  printf '  held-out accuracy %.3f before, %.3f after\n' "$(values "$1" eval/accuracy | head -1)" "$(values "$1" eval/accuracy | tail -1)"
  printf '  mismatch %d of %d tokens\n' "$(total "$1" mismatch/tokens)" "$(total "$1" tokens/generated)"
  printf '  largest difference of log-probability %s\n' "$(values "$1" mismatch/max_abs | sort -g | tail -1)"
  printf '  KL, mean of steps: k1 %s, k3 %s\n' "$(values "$1" mismatch/kl_k1 | awk '{ n += $1 } END { printf "%.3g", n / NR }')" \
    "$(values "$1" mismatch/kl_k3 | awk '{ n += $1 } END { printf "%.3g", n / NR }')"
  printf '  %s s in steps, sampling %.0f tokens/s\n' "$seconds" \
    "$(paste <(values "$1" tokens/generated) <(values "$1" time/rollout) | awk '{ n += $1; t += $2 } END { print n / t }')"
}

phase_train() {
  zk_say "GRPO in bf16 ($run)"
  train "$run"
  report "$run"
  [ "$(total "$run" mismatch/tokens)" = 0 ] || { echo "error: tokens differ" >&2; exit 1; }
  awk -v a="$(values "$run" eval/accuracy | head -1)" -v b="$(values "$run" eval/accuracy | tail -1)" 'BEGIN { exit !(b - a >= 0.1) }' ||
    { echo "error: held-out accuracy rose by less than 0.1" >&2; learned=no; }
}
phase_verify() {
  zk_say "recomputing all of it"
  "$zerokl" verify "$run"
}
phase_audit() {
  zk_say "20 sequences on a CPU"
  "$zerokl" verify "$run" --device cpu --sample 20
}
phase_vendor() {
  zk_say "the same run in vendor's arithmetic ($vendor)"
  local code=0
  train "$vendor" numerics=vendor checkpoint.every=0 2>"$runs/vendor.log" || code=$?
  cat "$runs/vendor.log" >&2
  if [ $code = 2 ] && grep -q 'numerics: vendor' "$runs/vendor.log"; then
    zk_say "this build has no vendor arithmetic: left out"
    return 0
  fi
  [ $code = 0 ] || exit $code
  report "$vendor"
}

learned=yes
mkdir -p "$runs"
for phase in $phases; do
  case $phase in
    train | verify | audit | vendor) "phase_$phase" ;;
    *) zk_die "no phase \"$phase\": train, verify, audit, vendor" ;;
  esac
done
[ "$learned" = yes ]
