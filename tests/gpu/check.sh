#!/usr/bin/env bash
# limit: 240
# `zerokl check` on the GPU: every operation, both numerics, no differing bit.
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
expect 0 "$ZK" check --device cuda $(size "" --quick)
cat out
! grep -q DIFFERS out || fail "an operation differs"
for numerics in f32 bf16; do
  for operation in embedding linear linear_parts rmsnorm rope kv_write rope_cache attention rope_attention swiglu lmhead_logprob lmhead_sample \
    lmhead_backward lmhead_loss embedding_backward linear_backward_input linear_backward_weight linear_parts_backward rmsnorm_backward rope_backward rope_norm_backward attention_backward \
    swiglu_backward adamw adamw_shard weights_hash init_normal; do
    grep -Eq "^$operation +$numerics +cuda +[a-z0-9_]+ +[1-9][0-9]* +0 ok$" out || fail "no row for $operation in $numerics"
  done
done
grep -Eq "^attention_weights +bf16 +cuda +[a-z0-9_]+ +[1-9][0-9]* +0 ok$" out || fail "no row for attention_weights"
if [ -z "$EMULATED" ]; then
  # Rows of the whole check alone.
  for row in "overlap +f32" "overlap +bf16" "large +bf16"; do
    grep -Eq "^$row +cuda +[a-z0-9_]+ +[1-9][0-9]* +0 ok$" out || fail "no row for $row"
  done
  # A step of one token as one kernel wants 128 multiprocessors.
  sms=$(sed -n 's/.* \([0-9]\{1,\}\) SMs.*/\1/p' err)
  [ -n "$sms" ] || fail "the number of multiprocessors is not told"
  [ "$sms" -lt 128 ] || grep -Eq "^resident +bf16 +cuda +[a-z0-9_]+ +[1-9][0-9]* +0 ok$" out || fail "no row for resident"
fi
