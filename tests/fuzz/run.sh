#!/usr/bin/env bash
# Fuzzes every target (or those named) for SECONDS_EACH seconds: tests/fuzz/run.sh [SECONDS_EACH=60] [TARGET...], e.g. 10 jsonl yaml
set -euo pipefail
# shellcheck source=../../experiments/lib/packages.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../experiments/lib/packages.sh"
zk_help "$@"
cd "$ZK_ROOT"
seconds=${1:-60}
case $seconds in '' | *[!0-9]*) zk_die "\"$seconds\" is no number of seconds" ;; esac
shift $(($# > 0))
zk_packages build fuzz
cmake --preset fuzz >/dev/null
cmake --build build-fuzz --target fuzz -j "$(zk_cores)" >/dev/null
[ $# -gt 0 ] || set -- tests/fuzz/fuzz_*.c
failed=0
for target in "$@"; do
  name=${target#tests/fuzz/fuzz_} name=${name%.c}
  found=build-fuzz/found/$name
  mkdir -p "$found"
  if build-fuzz/tests/fuzz/"fuzz_$name" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 -artifact_prefix="$found/" \
    "$found" "tests/fuzz/corpus/$name" >"$found.log" 2>&1; then
    echo "$name: clean, $(sed -n 's/^Done \([0-9]*\) runs.*/\1/p' "$found.log") inputs in $seconds s"
  else
    echo "$name: FAILED"
    tail -40 "$found.log"
    failed=1
  fi
done
exit $failed
