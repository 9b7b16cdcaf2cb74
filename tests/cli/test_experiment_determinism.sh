#!/usr/bin/env bash
# experiments/determinism: one prompt in batches of 1 and 24 has one completion; left to OpenBLAS it has more.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
. "$ZK_SOURCE/tests/experiment.sh"
shown determinism "unique, ours, small"
echo ok
