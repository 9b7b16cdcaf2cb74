#!/usr/bin/env bash
# experiments/algorithms: accuracy rises, bits are equal, runs verify; rewards that say nothing are seen.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
. "$ZK_SOURCE/tests/experiment.sh"
shown algorithms "runs that learned"
echo ok
