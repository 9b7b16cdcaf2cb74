#!/usr/bin/env bash
# Installs what is missing, builds, runs every test that needs no GPU. Last line: "N passed, N failed"; exit 0 only if all passed.
#   tests/run.sh                # all of them
#   tests/run.sh -R tokenizer   # those with this in their names; -E, -L, -LE and the like are ctest's, too
#   ZK_QUICK=1 leaves the tests labelled slow out
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../experiments/lib/packages.sh"
zk_help "$@"
zk_ctest_options "$@"
cd "$ZK_ROOT"

zk_packages build test
(zk_packages blas) || zk_say "no OpenBLAS: tests of numerics: vendor, and of experiments that compare with it, are skipped"
zk_mpi_environment

# Software that tests ask for a second opinion (tests/requirements.txt), in build/python, while the build goes on. Where it cannot be had, those
# tests or their last part say that they were skipped.
zk_test_python() {
  mkdir -p build
  python3 -m venv build/python && build/python/bin/python -m pip install --quiet --disable-pip-version-check --retries 1 -r tests/requirements.txt &&
    cp tests/requirements.txt build/python/ || zk_say "they cannot be had here; tests that want these packages are skipped"
}
pip=
if [ "${ZK_QUICK:-0}" != 1 ] && [ -z "${ZK_PYTHON:-}" ] && ! cmp -s tests/requirements.txt build/python/requirements.txt; then
  zk_say "installing tests/requirements.txt with pip, into build/python"
  if (zk_packages python); then zk_test_python & pip=$!; else zk_say "no Python: tests that want these packages are skipped"; fi
fi
zk_build -DZK_BUILD_TESTS=ON
[ -z "$pip" ] || wait "$pip"

skip=gpu
[ "${ZK_QUICK:-0}" = 1 ] && skip='gpu|slow'
zk_ctest build -LE "^($skip)\$" "$@"
