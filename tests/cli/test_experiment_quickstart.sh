#!/usr/bin/env bash
# experiments/quickstart: accuracy rises and every stored bit is recomputed; rewards that say nothing are seen.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
. "$ZK_SOURCE/tests/experiment.sh"
shown quickstart "gain of accuracy"
echo ok
