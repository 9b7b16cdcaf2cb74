#!/usr/bin/env bash
# CPU speed: `zerokl bench`, all suites, and the same training step in PyTorch where it is installed (ZK_PYTHON names its python).
# Usage: run.sh [THREADS]. Rows come as text; runs/bench/*.json hold them for programs. Leave the machine alone meanwhile.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib/packages.sh
. "$here/../lib/packages.sh"
cd "$ZK_ROOT"
threads=${1:-$(nproc)}
python=${ZK_PYTHON:-python3}

[ -x build/zerokl ] || { zk_packages build; zk_build -DZK_BUILD_TESTS=OFF; }
mkdir -p runs/bench
build/zerokl bench --threads "$threads" --json runs/bench/zerokl.json
if ! "$python" -c 'import torch' 2>/dev/null; then
  echo "no torch in $python: the training step has no rival here (pip install torch; ZK_PYTHON=...)" >&2
  exit 0
fi
"$python" "$here/pytorch_cpu.py" --threads "$threads" --json runs/bench/pytorch.json
us() { sed -n 's|.*"operation": "model train step".*"us": \([0-9.]*\).*|\1|p' "$1"; }
awk -v ours="$(us runs/bench/zerokl.json)" -v theirs="$(us runs/bench/pytorch.json)" \
  'BEGIN { printf "training step: %.2f times the speed of PyTorch eager\n", theirs / ours }'
