#!/usr/bin/env bash
# cost: 70
# zerokl bench of a GPU, run on the emulated one with every size divided: each suite adds its rows, in JSON too. No time is judged here.
set -u
fail() { echo "FAILED: $*"; exit 1; }
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

rows() { # SUITE FILTER ROWS: that many rows of it, in the table and in JSON
  out=$("$ZK_BUILD/zerokl_simt" bench "$1" --device cuda --quick --shrink 64 -s 0 -f "$2" --json "$dir/rows.json" 2>"$dir/err") ||
    fail "bench $1 exits $?: $(cat "$dir/err")"
  grep -Eq '; copies [0-9.]+ GB/s, cuBLAS 0.0 TFLOP/s$' <<<"$out" || fail "the device is not described: $out"
  [ "$(grep -Ec "^$2,? .* [0-9.]+ +[0-9.]+ (GB|tok)/s +[0-9.]+ " <<<"$out")" = "$3" ] || fail "bench $1 -f '$2' has not $3 rows: $out"
  [ "$(grep -c "\"operation\": \"$2" "$dir/rows.json")" = "$3" ] || fail "JSON of $1 has not $3 rows"
}
rows linear "linear forward" 15
rows linear "linear dX" 1
rows linear "linear dW" 1
rows linear_norm "norm and linear" 18
rows linear_parts "linear parts" 2
rows linear_parts "linear swiglu" 2
rows lmhead "lmhead" 12
rows lmhead_loss "lmhead loss" 2
rows attention "attention decode" 13
rows attention "kv write" 1
rows rows "embedding" 2
rows rows "rmsnorm" 4
rows rows "rope" 2
rows rows "swiglu" 2
rows rows "adamw" 1
rows rows_backward "rmsnorm backward" 2
rows rows_backward "swiglu backward" 1
rows rows_backward "rope norm backward" 1
rows rows_backward "adamw, hashes" 1
rows rope_cache "rope cache" 6
rows rope_attention "rope attention" 3
rows rows "weights hash" 1
rows model "model decode" 1
rows model "model prefill" 1
rows train "train 0.6B bf16" 6 # a step and its phases
grep -q '"shape": "step 4 x 64".*"memory_peak_bytes": [1-9]' "$dir/rows.json" || fail "a training step does not tell its memory: $(cat "$dir/rows.json")"
grep -q "no libcublas" "$dir/err" || fail "the missing rival is not told"

# Several suites, in the table's order; the JSON is written after each, and has the rows that there are by then.
out=$("$ZK_BUILD/zerokl_simt" bench rope_cache rows --device cuda --quick --shrink 64 -s 0 -f rope --json /dev/stdout 2>"$dir/err") || fail "two suites: exit code $?: $(cat "$dir/err")"
[ "$(grep -c '^]}$' <<<"$out")" = 2 ] || fail "the JSON of two suites is not written twice: $out"
first=$(sed '/^]}$/q' <<<"$out")
[ "$(grep -c '"operation": "rope"' <<<"$first")" = 2 ] && ! grep '"operation": "rope cache"' <<<"$first" >/dev/null || fail "JSON after the first suite: $first"
[ "$(grep -c '"operation": "rope cache"' <<<"$out")" = 6 ] && [ "$(grep -c '"operation": "rope"' <<<"$out")" = 4 ] || fail "JSON after the second suite: $out"
"$ZK_BUILD/zerokl_simt" bench rows nonsense --device cuda --shrink 64 -s 0 -f rope >"$dir/out" 2>"$dir/err"; [ $? = 2 ] || fail "an unknown second suite does not exit 2"
grep -q "nonsense: no such suite" "$dir/err" && ! grep '^rope' "$dir/out" >/dev/null || fail "an unknown suite is not told before others run"

"$ZK_BUILD/zerokl_simt" bench tc_gemm --device cuda --shrink 64 -s 0 >/dev/null 2>&1; [ $? = 2 ] || fail "a CPU's suite does not exit 2 on a GPU"
"$ZK_BUILD/zerokl_simt" bench --device cuda --shrink 0 >/dev/null 2>&1; [ $? = 2 ] || fail "--shrink 0 does not exit 2"
echo ok
