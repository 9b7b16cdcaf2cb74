#!/bin/sh
# NUM lines of the task, as many different questions as there are among them, and a dialogue with the calculator to imitate: the question, what it answers, the answer.
awk -v num="${1:-3000}" -v most="${2:-100}" 'BEGIN {
  x = 7
  while (made < num) {
    a = next_number() % most; b = next_number() % most; op = substr("+-*", next_number() % 3 + 1, 1)
    tried++
    if (tried > 20 * num) exit
    if (seen[a op b]++) continue
    made++
    result = op == "+" ? a + b : op == "-" ? a - b : a * b
    printf "{\"prompt\": \"%d%s%d=\", \"label\": \"%d\", \"demonstration\": \"%d%s%d;%d\\n%d\"}\n", a, op, b, result, a, op, b, result, result
  }
}
function next_number() { x = x * 16807 % 2147483647; return int(x / 1000) }' # Park and Miller 1988: exact in any awk
