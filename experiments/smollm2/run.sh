#!/usr/bin/env bash
# A real model from end to end on CPUs: set-up, ten GRPO steps on two ranks, verify, export; with --check also transformers' greedy text.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib/packages.sh
. "$here/../lib/packages.sh"
zk_help "$@"
cd "$ZK_ROOT"
exported=models/SmolLM2-135M-Instruct-grpo

zk_packages build
"$here/setup.sh" "$@"   # --check installs torch and transformers and checks the model that goes in
zk_build -DZK_BUILD_TESTS=OFF
zk_mpirun 2 build/zerokl train "$here/grpo.yaml"
build/zerokl verify runs/smollm2
rm -rf "$exported" runs/smollm2-greedy
build/zerokl export runs/smollm2 "$exported"
build/zerokl rollout "$here/greedy.yaml"
if [ "${1:-}" = --check ]; then
  "${ZK_PYTHON:-${ZK_CACHE:-$here/.venv}/bin/python}" "$here/check.py" greedy runs/smollm2-greedy "$exported"
fi
