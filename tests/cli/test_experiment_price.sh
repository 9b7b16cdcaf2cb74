#!/usr/bin/env bash
# experiments/price: both sides of each pair are measured and compared; a side that computes 32 times as much is seen. What rates are is not tested: between
# the bound and what is measured lies a factor of five on either side.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
. "$ZK_SOURCE/tests/experiment.sh"
if ! python3 -c 'import ctypes; ctypes.CDLL("libopenblas.so.0")' 2>/dev/null; then
  expect 77 "$ZK_SOURCE/experiments/price/run.sh" --tiny
  says 'there is no OpenBLAS here'
  exit 0
fi
shown price "price of training, large batch"
echo ok
