#!/usr/bin/env bash
# experiments/batch_invariance: rows alone and in batches have the same bits; left to OpenBLAS they have not.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
. "$ZK_SOURCE/tests/experiment.sh"
shown batch_invariance "elements that differ, ours"
echo ok
