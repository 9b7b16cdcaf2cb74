#!/usr/bin/env bash
# cost: 30
# experiments/algorithms: accuracy rises, bits are equal, runs verify; from rewards that say nothing no run learns.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
. "$ZK_SOURCE/tests/experiment.sh"
shown algorithms "runs that learned"
tells "runs that learned is 0, "
echo ok
