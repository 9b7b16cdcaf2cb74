#!/usr/bin/env bash
# limit: 200
# A million tokens of requests in fast succession through one engine on the GPU: no page is lost, no byte of heap or of the device's memory stays behind.
# Run it alone on the GPU: what other processes take of its memory would count as left behind.
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
[ -z "$EMULATED" ] || { echo "an emulated GPU would take an hour"; exit 77; }
[ -x "$ZK_BUILD/tests/test_engine_soak" ] || fail "$ZK_BUILD has no tests/test_engine_soak"
ZK_TEST_DEVICE=cuda expect 0 "$ZK_BUILD/tests/test_engine_soak"
grep -h 'tokens in' out err
