#!/usr/bin/env bash
# experiments/world_size: 1, 2 and 3 workers have one chain of hashes; sums cut by the number of workers are seen.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
. "$ZK_SOURCE/tests/experiment.sh"
shown world_size chains
echo ok
