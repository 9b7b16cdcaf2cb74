#!/usr/bin/env bash
# CPU speed: `zerokl bench`, all suites, and the same training step in PyTorch where it is installed (ZK_PYTHON names its python).
# Usage: run.sh [THREADS]. Rows come as text; runs/bench/*.json (ZK_RUNS: elsewhere than runs/) hold them for programs. Leave the machine alone meanwhile.
# GPU speed: run.sh cuda [--quick]: the kernels against cuBLAS, cuBLASLt and, where PyTorch is installed, cuDNN's attention; writes
# results/<gpu>-<date>.{json,md}. ZK_BUILD names a build other than build/, ZK_RESULTS another folder.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib/packages.sh
. "$here/../lib/packages.sh"
zk_help "$@"
cd "$ZK_ROOT"
python=${ZK_PYTHON:-python3}
build=${ZK_BUILD:-build} runs=${ZK_RUNS:-runs}/bench

[ -x "$build/zerokl" ] || { zk_packages build; zk_build -DZK_BUILD_TESTS=OFF; }
mkdir -p "$runs"

if [ "${1:-}" = cuda ]; then
  shift
  "$build/zerokl" bench --device cuda --json "$runs/gpu.json" "$@"
  rivals=-
  if ! "$python" -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
    echo "no torch with CUDA in $python: attention has no rival here (pip install torch; ZK_PYTHON=...)" >&2
  elif "$python" "$here/torch_rivals.py" >"$runs/rivals.jsonl"; then
    rivals=$runs/rivals.jsonl
  fi
  "$python" "$here/report.py" "$runs/gpu.json" "$rivals" "${ZK_RESULTS:-$here/results}"
  exit 0
fi

threads=${1:-$(nproc)}
"$build/zerokl" bench --threads "$threads" --json "$runs/zerokl.json"
if ! "$python" -c 'import torch' 2>/dev/null; then
  echo "no torch in $python: the training step has no rival here (pip install torch; ZK_PYTHON=...)" >&2
  exit 0
fi
"$python" "$here/pytorch_cpu.py" --threads "$threads" --json "$runs/pytorch.json"
us() { sed -n 's|.*"operation": "train 135M f32", "shape": "step[^}]*"us": \([0-9.]*\).*|\1|p' "$1"; }
awk -v ours="$(us "$runs/zerokl.json")" -v theirs="$(us "$runs/pytorch.json")" \
  'BEGIN { printf "training step: %.2f times the speed of PyTorch eager\n", theirs / ours }'
