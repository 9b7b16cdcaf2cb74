#!/usr/bin/env bash
# experiments/price: both sides of each pair are measured, and what was measured is judged: recorded rates pass; those of an engine half as fast do not, nor
# `vendor`'s in place of ours.
# How fast anything is here is not tested.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
. "$ZK_SOURCE/tests/experiment.sh"
price() { "$ZK_SOURCE/experiments/price/run.sh" "$@"; }
recorded=$ZK_SOURCE/experiments/bench/results/nvidia-h200-2026-11-22
ZK_RESULTS="$recorded.json $recorded-training.json $recorded-small.jsonl" expect 0 price --gpu
says 'price --gpu: 4 of 4 checks passed'
dearer() { for what in "sampling, large batch" training "sampling against vendor" "training against vendor"; do tells "error: price --gpu: price of $what is "; done; }
ZK_RESULTS="$recorded.json $recorded-training.json $recorded-small.jsonl" expect 1 price --gpu --break
dearer
# Ours is bf16: its steps take half the rate, its sequences too.
python3 - "$recorded" "$ZK_TMP/half" <<'PY'
import json, sys
for end in (".json", "-training.json"):
    result = json.load(open(sys.argv[1] + end))
    for row in result["rows"]:
        if row["operation"].endswith(" bf16"):
            row["rate"] /= 2
    for line in result.get("generation") or []:
        if line["piece"].endswith("-bf16"):
            line["perf/rollout_tokens_per_s"] /= 2
    json.dump(result, open(sys.argv[2] + end, "w"))
PY
ZK_RESULTS="$ZK_TMP/half.json $ZK_TMP/half-training.json" expect 1 price --gpu
dearer
ZK_RESULTS="$ZK_TMP/half-training.json" expect 77 price --gpu
says 'not every piece of experiments/bench is measured'
code=0
price --tiny >out 2>err || code=$?
[ $code != 77 ] || skip "$(tail -1 out)"
[ $code = 0 ] || fail "price --tiny: exit code $code"
says 'price --tiny: 2 of 2 checks passed'
echo ok
