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
junit=$ZK_ROOT/build/junit.xml
rm -f "$junit"
status=0
ctest --test-dir build -LE "^($skip)\$" --output-on-failure --output-junit "$junit" -j "$(zk_cores)" "$@" || status=$?

# ctest's own summary: <testsuite name=... tests="9" failures="1" disabled="0" skipped="0" ...>
attribute() { sed -n "s/^[[:space:]]*$1=\"\([0-9]*\)\".*/\1/p" "$junit" | head -1; }
[ -s "$junit" ] || zk_die "ctest left no summary (exit code $status)"
total=$(attribute tests) failed=$(attribute failures) skipped=$(($(attribute skipped) + $(attribute disabled)))
[ "$skipped" -eq 0 ] || echo "$skipped skipped"
echo "$((total - failed - skipped)) passed, $failed failed"
[ "$status" -eq 0 ] && [ "$failed" -eq 0 ] && [ "$((total - failed - skipped))" -gt 0 ]
