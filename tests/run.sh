#!/usr/bin/env bash
# Installs what is missing, builds, runs every test that needs no GPU. Last line: "N passed, N failed"; exit 0 only if all passed.
#   ZK_QUICK=1 leaves the tests labelled slow out. Arguments go to ctest: tests/run.sh -R tokenizer
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../experiments/lib/packages.sh"
cd "$ZK_ROOT"

zk_packages build test
zk_build -DZK_BUILD_TESTS=ON
zk_mpi_environment

skip=gpu
[ "${ZK_QUICK:-0}" = 1 ] && skip='gpu|slow'
zk_ctest build -LE "^($skip)\$" "$@"
