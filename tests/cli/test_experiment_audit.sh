#!/usr/bin/env bash
# cost: 30
# experiments/audit: alterations of an archive that a GPU made are found, digests made again; an auditor who looks elsewhere does not find them.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
. "$ZK_SOURCE/tests/experiment.sh"
shown audit "caught"
echo ok
