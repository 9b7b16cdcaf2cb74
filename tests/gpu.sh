#!/usr/bin/env bash
# The tests that need a GPU, each a script of tests/gpu/ with a time limit of its own; prints a table, and last "N passed, N failed". Those of
# tests/gpu/multi/ are for several GPUs, and say what they lack.
#   tests/gpu.sh                       # builds, then runs all of them
#   tests/gpu.sh chain_f32 multi/kill  # only these
#   ZK_BUILD=DIR      takes DIR/zerokl and DIR/zerokl_faulty, which were built elsewhere (tests/README.md says how), and builds nothing
#   ZK_GPU_LOGS=DIR   where the output of each test goes (default: a temporary folder)
#   ZK_GPU_EMULATED=1 the GPU of these programs is emulated: small sizes, and nothing that needs a driver
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../experiments/lib/packages.sh
. "$here/../experiments/lib/packages.sh"
zk_help "$@"

order="check check_fault bad_input chain_f32 chain_qwen3 algorithms bf16_audit vendor vendor_wide cross schedule crowd unique soak precision logits memcheck racecheck synccheck initcheck"

# All tests in a good order; a script that the order forgets comes last.
all_tests() {
  local name file
  for name in $order; do [ ! -f "$here/gpu/$name.sh" ] || echo "$name"; done
  for file in "$here"/gpu/*.sh "$here"/gpu/multi/*.sh; do
    name=${file#"$here"/gpu/}
    name=${name%.sh}
    case " $order " in *" $name "*) ;; *) echo "$name" ;; esac
  done
}

# limit_of NAME: the seconds that its line "# limit: N" grants; an emulated GPU gets four times as many
limit_of() { echo $(($(sed -n 's/^# limit: \([0-9]*\)$/\1/p' "$here/gpu/$1.sh") * (${ZK_GPU_EMULATED:+3} + 1))); }

if [ $# -gt 0 ]; then tests=("$@"); else mapfile -t tests < <(all_tests); fi
for name in "${tests[@]}"; do
  [ -f "$here/gpu/$name.sh" ] || zk_die "no test \"$name\"; there are: $(all_tests | tr '\n' ' ')"
done
logs=${ZK_GPU_LOGS:-$(mktemp -d)}
mkdir -p "$logs"
if [ -z "${ZK_BUILD:-}" ]; then
  zk_packages build test
  zk_build -DZK_CUDA=ON -DZK_BUILD_TESTS=ON # the faulty program is one of the tests
  ZK_BUILD=$ZK_ROOT/build
fi
ZK_BUILD=$(cd "$ZK_BUILD" && pwd) || zk_die "ZK_BUILD is not a folder"
export ZK_BUILD
for program in zerokl zerokl_faulty; do
  [ -x "$ZK_BUILD/$program" ] || zk_die "$ZK_BUILD has no $program"
done
"$ZK_BUILD/zerokl" --version || zk_die "$ZK_BUILD/zerokl does not run here"
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null || echo "no nvidia-smi"
echo "logs: $logs"
echo

passed=0 failed=0 skipped=0
printf '%-14s %-8s %8s\n' test result seconds
for name in "${tests[@]}"; do
  limit=$(limit_of "$name")
  begin=$(date +%s.%N) code=0 note="" log=$logs/${name//\//_}.log
  timeout -k 10 "$limit" bash "$here/gpu/$name.sh" >"$log" 2>&1 </dev/null || code=$?
  seconds=$(awk -v a="$begin" -v b="$(date +%s.%N)" 'BEGIN { printf "%.1f", b - a }')
  case $code in
    0) result=passed passed=$((passed + 1)) ;;
    77) result=skipped skipped=$((skipped + 1)) note=$(tail -1 "$log") ;;
    124 | 137) result=FAILED failed=$((failed + 1)) note="stopped after its $limit seconds" ;;
    *) result=FAILED failed=$((failed + 1)) note="exit code $code" ;;
  esac
  printf '%-14s %-8s %8s  %s\n' "$name" "$result" "$seconds" "$note"
  [ "$result" != FAILED ] || tail -25 "$log" | sed 's/^/    | /'
done
[ "$skipped" -eq 0 ] || echo "$skipped skipped"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
