#!/usr/bin/env bash
# Builds with the address and undefined-behaviour sanitizers and runs the tests in that build; a finding or a leak of ours fails its test.
# Last line: "N passed, N failed"; exit 0 only if all passed.
#   tests/sanitize.sh           # all of them
#   tests/sanitize.sh -L mpi    # those with this label; -R, -E, -LE and the like are ctest's, too
#   ZK_QUICK=1 leaves the tests labelled slow out
set -euo pipefail
# shellcheck source=../experiments/lib/packages.sh
. "$(dirname "${BASH_SOURCE[0]}")/../experiments/lib/packages.sh"
zk_help "$@"
zk_ctest_options "$@"
cd "$ZK_ROOT"
zk_packages build test
cmake --preset sanitize >/dev/null
cmake --build build-sanitize -j "$(zk_cores)" >build-sanitize/build.log || { tail -40 build-sanitize/build.log; zk_die "the build failed"; }
zk_mpi_environment

# Tests that preload a library of their own load it before the sanitizer's. The copies of the stack that find a use after return are
# not aligned for vectors of 64 bytes (gcc 12 and 13), so that kernels would crash.
export ASAN_OPTIONS=verify_asan_link_order=0:detect_stack_use_after_return=0
export LSAN_OPTIONS=suppressions=$ZK_ROOT/tests/lsan.supp:print_suppressions=0
export UBSAN_OPTIONS=print_stacktrace=1
export LD_PRELOAD=$ZK_ROOT/build-sanitize/tests/libkeep_modules.so
skip=gpu
[ "${ZK_QUICK:-0}" = 1 ] && skip='gpu|slow'
zk_ctest build-sanitize -LE "^($skip)\$" "$@"
