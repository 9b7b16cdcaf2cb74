# Sourced behind lib.sh by the tests of experiments: the smallest form passes, and fails when its claim is broken on purpose.
# shown NAME VALUE [FORM]: the check of VALUE is what must fail then; FORM is the smallest of one that has none called tiny. An experiment that is not run here (a
# library is missing) is skipped with its reason.
command -v python3 >/dev/null || skip "there is no python3, which experiments want"
export ZK_RUNS=$ZK_TMP/runs
shown() {
  local code=0 form=${3:-tiny}
  "$ZK_SOURCE/experiments/$1/run.sh" --$form >"$ZK_TMP/out" 2>"$ZK_TMP/err" || code=$?
  [ $code != 77 ] || skip "$(tail -1 "$ZK_TMP/out")"
  [ $code = 0 ] || fail "$1 --$form: exit code $code"
  grep -q "^$1 --$form: \([0-9]*\) of \1 checks passed" out || fail "$1 does not end with its verdict"
  expect 1 "$ZK_SOURCE/experiments/$1/run.sh" --$form --break
  tells "error: $1 --$form: $2 is "
}
