#!/usr/bin/env bash
# The quickstart's negative control: the same RL with rewards permuted among prompts learns nothing. Fails when held-out accuracy gains 0.05
# or more. Run run.sh first: it makes the warmed-up model.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib/packages.sh"
zk_help "$@"
cd "$ZK_ROOT"
runs=${ZK_RUNS:-runs}
warm=$(ls -d "$runs"/quickstart-sft/checkpoints/step_* 2>/dev/null | tail -1)
[ -n "$warm" ] && [ -x build/zerokl ] || zk_die "run experiments/quickstart/run.sh first"

zk_mpirun 2 build/zerokl train configs/quickstart.yaml task.shuffle_rewards=true run.name=quickstart-control "model.path=$warm" \
  "run.dir=$runs/quickstart-control"
accuracy() { sed -n 's|.*"eval/accuracy": \([^,}]*\).*|\1|p' "$runs/quickstart-control/metrics.jsonl"; }
before=$(accuracy | head -1) after=$(accuracy | tail -1)
printf 'held-out accuracy before RL %.3f\nheld-out accuracy after RL with shuffled rewards %.3f\n' "$before" "$after"
awk -v a="$before" -v b="$after" 'BEGIN { exit !(b - a < 0.05) }' || { echo "error: shuffled rewards taught something" >&2; exit 1; }
