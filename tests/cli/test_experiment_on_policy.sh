#!/usr/bin/env bash
# cost: 50
# experiments/on_policy: equal bits have divergence 0 and ratio 1; another sampler in their arm is seen.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
. "$ZK_SOURCE/tests/experiment.sh"
shown on_policy "tokens that differ, bits equal"
echo ok
