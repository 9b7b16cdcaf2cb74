#!/usr/bin/env bash
# limit: 300
# One prompt under one name, sampled a thousand times in batches of 1 to 1,000 with other traffic: one completion in bf16, more with a library.
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
long_task_files wide "architecture: qwen3, layers: 2, hidden: $(size 1024 32), heads: 8, kv_heads: 4, head_dim: $(size 128 8), intermediate: $(size 3072 48), max_positions: 256"
unique() { "$ZK" rollout --unique --sequences "$(size 1000 3)" --min "$(size 30 6)" --max "$(size 90 10)" wide-warm.yaml device=cuda rollout.max_new_tokens=90 "$@"; }
counts() { sed -n 's|.*"batch": \([0-9]*\), "temperature": \([0-9]*\).*"unique": \([0-9]*\).*|batch \1, temperature \2: \3 unique|p' out; }
expect 0 unique numerics=bf16
[ "$(grep -c '"unique": 1[,}]' out)" = 10 ] || fail "not one completion in each batch"
expect 0 unique numerics=bf16 rollout.speculate=4 rollout.page_tokens=16 rollout.prefix_cache=false
[ "$(grep -c '"unique": 1[,}]' out)" = 10 ] || fail "not one completion in each batch, with guesses"
counts
[ -z "$EMULATED" ] || exit 0
code=0
unique numerics=vendor >out 2>err || code=$?
if [ $code = 2 ] && grep -q 'cannot be loaded' err; then
  echo "unique: one completion; no library to compare with"
  exit 0
fi
[ $code = 0 ] || fail "vendor: exit code $code"
echo "with cuBLAS:"
counts
grep -q '"unique": 1[,}]' out && ! grep -q '"unique": \([2-9]\|1[0-9]\)' out && fail "cuBLAS gives one completion too: this shows nothing"
echo "unique: one completion"
