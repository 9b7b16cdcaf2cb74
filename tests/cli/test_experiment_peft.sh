#!/usr/bin/env bash
# cost: 60
# experiments/peft, where PEFT is (ZK_PYTHON): an adapter gives its values, and another step's weights are seen.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
. "$ZK_SOURCE/tests/experiment.sh"
python=$(python_with h5py peft torch transformers) || skip "no Python here has h5py, peft, torch and transformers"
ZK_PYTHON=$python shown peft "difference of logits" cpu
echo ok
