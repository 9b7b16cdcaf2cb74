#!/usr/bin/env bash
# experiments/peft: what differs by more than a ten-thousandth, or is no number, fails; without PEFT it is not run, and says how it can be.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
. "$ZK_SOURCE/tests/experiment.sh"

# judged CODE PYTHON: the verdict on what these lines measure, which give `logits` and `logprobs` lists of numbers to compare
judged() {
  rm -f measured.jsonl
  PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$ZK_SOURCE/experiments/peft python3 - <<END
import math
from compare import Largest, say
logits, logprobs = Largest(), Largest()
one = [0.01 * i for i in range(100)]
$2
say("measured.jsonl", logprobs.count, logits.value, logprobs.value, {"PEFT": "none"})
END
  echo '{"value": "mismatched tokens", "is": 0}' >>measured.jsonl
  expect "$1" python3 "$ZK_SOURCE/experiments/lib/finish.py" peft cpu "$ZK_TMP/measured.jsonl" "$ZK_TMP/results"
}
judged 0 'logits.add(one, [x + 0.00009 for x in one]); logprobs.add(one, one)'
says '| difference of logits | at most 0.0001 | 9e-05 | passed |'
judged 1 'logits.add(one, one[:50] + [one[50] - 0.00011] + one[51:]); logprobs.add(one, one)'
tells 'difference of logits is 0.00011, expected: at most 0.0001'
judged 1 'logits.add(one, one); logprobs.add(one, one[:99] + [2.0])'
tells 'difference of log-probabilities is 1.01, expected'
judged 1 'logits.add([math.nan] + one[1:], one); logits.add(one, one); logprobs.add(one, one)'
tells 'difference of logits is no number, expected'
judged 1 'logits.add(one, one); logprobs.add(one, one + one[:1])'
tells 'difference of log-probabilities is no number, expected'
judged 1 'logits.add(one, one); logprobs.add(one[:99], one[:99])'
tells 'tokens is 99, expected: at least 100'

ZK_PYTHON=false expect 77 "$ZK_SOURCE/experiments/peft/run.sh" --cpu
says 'NOT RUN: no Python with torch, transformers, peft and h5py; python3 -m venv V && V/bin/pip install torch transformers peft h5py'
echo ok
