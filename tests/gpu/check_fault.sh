#!/usr/bin/env bash
# limit: 120
# One ulp in one operation is found and named; the shipped program refuses the variable.
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
for operation in $(size "linear attention lmhead_sample rmsnorm_backward" linear); do
  ZK_FAULT=check:$operation expect 1 "$ZK_BUILD/zerokl_faulty" check --quick --device cuda --operation "$operation"
  grep -Eq "^$operation +(f32|bf16) +cuda .* DIFFERS$" out || fail "check:$operation: no row says so"
  tells "operation $operation"
done
if [ -z "$EMULATED" ]; then
  ZK_FAULT=check:linear expect 2 "$ZK" check --quick --device cuda
  tells 'this build has no faults'
fi
