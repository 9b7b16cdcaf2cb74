# Sourced behind lib.sh by the tests of experiments: the smallest form passes, and fails when its claim is broken on purpose.
# shown NAME VALUE: the experiment's check of VALUE is what must fail then
export ZK_RUNS=$ZK_TMP/runs
shown() {
  expect 0 "$ZK_SOURCE/experiments/$1/run.sh" --tiny
  grep -q "^$1 --tiny: \([0-9]*\) of \1 checks passed" out || fail "$1 does not end with its verdict"
  expect 1 "$ZK_SOURCE/experiments/$1/run.sh" --tiny --break
  tells "error: $1 --tiny: $2 is "
}
