#!/usr/bin/env bash
# zerokl bench: a line a row and JSON beside it, with and without the rival; bad input exits 2. No time is judged here.
set -u
fail() { echo "FAILED: $*"; exit 1; }
unset ZK_CPU_ISA
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

out=$("$ZK_BUILD/zerokl" bench linear -t 1 -s 0 -f dW --json "$dir/rows.json" 2>/dev/null) || fail "bench exits $?"
grep -Eq '^operation +shape +us +rate +% floor +x rival$' <<<"$out" || fail "no heading: $out"
grep -Eq '^linear dW +M 2048 N 1536 K 576 +[0-9.]+ +[0-9.]+ GFLOP/s +[0-9.]+ ' <<<"$out" || fail "no row: $out"
grep -q forward <<<"$out" && fail "the filter lets others through: $out"
rows=$(grep -c '^linear' <<<"$out")
[ "$(grep -c '"operation": "linear dW"' "$dir/rows.json")" = "$rows" ] || fail "JSON has other rows than the table"
tail -n 1 "$dir/rows.json" | grep '^]}$' >/dev/null || fail "JSON does not end"

"$ZK_BUILD/zerokl" bench nonsense -s 0 >/dev/null 2>"$dir/err"; [ $? = 2 ] || fail "an unknown suite does not exit 2"
grep -q nonsense "$dir/err" || fail "the suite is not named"
"$ZK_BUILD/zerokl" bench -t 0 >/dev/null 2>&1; [ $? = 2 ] || fail "--threads 0 does not exit 2"
"$ZK_BUILD/zerokl" bench linear -s 0 -f nothing --json "$dir/no/such/folder" >/dev/null 2>&1; [ $? = 2 ] || fail "a file that cannot be written does not exit 2"
echo ok
