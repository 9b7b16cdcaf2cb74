#!/usr/bin/env bash
# cost: 40
# experiments/resume: runs that are killed end as one that was not; without the optimiser's state they do not.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
. "$ZK_SOURCE/tests/experiment.sh"
shown resume "different endings"
echo ok
