#!/usr/bin/env bash
# experiments/cpu_gpu: this CPU has the chains of hashes that a GPU recorded; adding in OpenBLAS's order it has not.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
. "$ZK_SOURCE/tests/experiment.sh"
shown cpu_gpu "chains that differ"
echo ok
