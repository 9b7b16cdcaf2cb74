#!/usr/bin/env bash
# What experiments share: checks fail when they should, what was not run is never called passed, tables are what the results files say, and
# run_all.sh tells the three apart.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
command -v python3 >/dev/null || skip "python3 is not installed"

# The committed tables and pictures are those of the committed results.
expect 0 "$ZK_SOURCE/experiments/lib/tables.py" --check

# ---- a repository with one experiment, whose run.sh measures what it is told to
mkdir -p repo/experiments/trial
cp -r "$ZK_SOURCE/experiments/lib" "$ZK_SOURCE/experiments/run_all.sh" repo/experiments/
cd repo
cat >experiments/trial/expected.json <<'END'
{
  "claim": "It is so",
  "cpu": {
    "expected": "one",
    "measured": "{a b} of {n}",
    "checks": [
      {"value": "a b", "equals": 1},
      {"value": "n", "at_least": 2},
      {"value": "n", "at_most": 3},
      {"value": "hash", "other_than": "control"},
      {"value": "hash", "same_as": "again"}
    ],
    "pictures": [{"file": "n", "title": "n < 4", "kind": "bars", "label": "kind", "value": "n"}]
  },
  "gpu": {"expected": "one", "measured": "{a b}", "checks": [{"value": "a b", "equals": 1}]}
}
END
cat >experiments/trial/run.sh <<'END'
#!/usr/bin/env bash
. "$(dirname "${BASH_SOURCE[0]}")/../lib/experiment.sh"
zk_experiment trial "$@"
[ "$form" = cpu ] || zk_needs_gpus 1
while read -r name value; do zk_value "${name//_/ }" "$value"; done <"$ZK_TMP/values"
zk_row kind 'a "quote" | and a \' n 2
zk_row kind b n 300000
zk_finish
END
chmod +x experiments/trial/run.sh
printf '# a comment\ntrial cpu 60\ntrial gpu 60\n' >experiments/lib/all.txt
printf 'Above.\n<!-- results cpu -->\n<!-- end -->\n<!-- results gpu -->\nold\n<!-- end -->\nBelow.\n' >experiments/trial/README.md
printf '<!-- claims -->\n<!-- end -->\n' >README.md
export ZK_TMP CUDA_VISIBLE_DEVICES= # no GPU, wherever this runs
values() { printf '%s\n' "$@" >"$ZK_TMP/values"; }
good=("a_b 1" "n 2.5" "hash 0123456789012345" "control 01234567890123ff" "again 0123456789012345")

values "${good[@]}"
expect 0 experiments/trial/run.sh --cpu
says 'trial --cpu: 5 of 5 checks passed'
says '| a "quote" \| and a \ | 2 |'
says '| b | 300,000 |'
[ ! -e experiments/trial/results ] || fail "results are kept without --record"
# wrong VALUES... : of the good ones but these; the check says TEXT
wrong() {
  values "${good[@]}" "${@:2}"
  expect 1 experiments/trial/run.sh
  tells "error: trial --cpu: $1"
}
wrong 'a b is 0, expected: 1' "a_b 0"
wrong 'n is 1, expected: at least 2' "n 1"
wrong 'n is 4, expected: at most 3' "n 4"
wrong 'n is none, expected: at least 2' "n none"
wrong 'hash is 01234567890123ff, expected: other than "control"' "hash 01234567890123ff" "again 01234567890123ff"
wrong 'hash is 0123456789012345, expected: the same as "again"' "again 1"
values "${good[@]}" "hash 314e418168681234" "control 314e418168681235" "again 314e418168681234" # which would be infinite as numbers
expect 0 experiments/trial/run.sh
values "${good[@]:1}"
expect 1 experiments/trial/run.sh
tells 'a b is not measured, expected: 1'
values "${good[@]:0:4}" # the other side of a comparison is missing
expect 1 experiments/trial/run.sh
tells 'hash is not measured'

# ---- what cannot be run
expect 77 experiments/trial/run.sh --gpu
says 'trial --gpu: NOT RUN: it wants 1 GPU, and there are 0 here; run it on a machine with 1 Hopper GPU'
expect 2 experiments/trial/run.sh --nothing
expect 2 experiments/trial/run.sh --break --record

# ---- the tables
values "${good[@]}"
expect 0 experiments/trial/run.sh --record
grep -qF '| It is so | `experiments/trial/run.sh --cpu` | one | 1 of 2.5 | [trial](experiments/trial/results/n.svg) |' README.md || fail "$(cat README.md)"
grep -qF '| It is so | `experiments/trial/run.sh --gpu` | one | not run |  |' README.md || fail "what was not run: $(cat README.md)"
grep -qx 'not run' experiments/trial/README.md && grep -qx Below. experiments/trial/README.md || fail "$(cat experiments/trial/README.md)"
grep -q 'n &lt; 4' experiments/trial/results/n.svg || fail "the picture"
expect 0 experiments/lib/tables.py --check
sed -i 's/300,000/300,001/' experiments/trial/README.md
expect 1 experiments/lib/tables.py --check
tells 'experiments/trial/README.md: it is not what the results files say'
expect 0 experiments/lib/tables.py
sed -i 's/n &lt; 4/n is small/' experiments/trial/results/n.svg
expect 1 experiments/lib/tables.py --check
tells 'experiments/trial/results/n.svg: it is not what the results files say'
sed -i 's/"is": 1/"is": 2/; s/"a b": 1/"a b": 2/' experiments/trial/results/cpu.json # results that the claim does not allow
expect 0 experiments/lib/tables.py
grep -q '| FAILED: 2 of 2.5 |' README.md || fail "a failed result is not called one: $(cat README.md)"

# ---- all of them
expect 0 experiments/run_all.sh --cpu
says '1 passed, 0 failed, 0 not run'
values "a_b 7"
expect 1 experiments/run_all.sh --cpu
says '0 passed, 1 failed, 0 not run'
expect 1 experiments/run_all.sh --gpu # nothing ran: nothing was shown
says '0 passed, 0 failed, 1 not run'
says 'NOT RUN: it wants 1 GPU'
expect 2 experiments/run_all.sh
expect 2 experiments/run_all.sh --cpu other
tells 'experiments/lib/all.txt has no other --cpu'
echo ok
