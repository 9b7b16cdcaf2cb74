#!/usr/bin/env bash
# cost: 40
# Golden files: what operations and tiny trainings gave on the device that made tests/fixtures/golden is what a CPU gives, bit for bit; and the
# comparison sees a changed character, a missing file, and a fault in any operation.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
. "$ZK_SOURCE/tests/golden/compare.sh"

expect 0 bash "$GOLDEN/make.sh" "$ZK_BUILD" cpu made
expect 0 golden_same "$GOLDEN" made

# differs WHAT SED FILE: golden files where SED changed one character of one line of FILE are no longer the same
differs() {
  mkdir changed && cp "$GOLDEN"/*.txt changed
  sed -i "$2" "changed/$3"
  [ "$(golden_diff "$GOLDEN/$3" "changed/$3" | grep -c '^>')" = 1 ] || fail "$1: not one changed line"
  expect 1 golden_same changed made
  says "$3 differs"
  rm -r changed
}
differs "an operation's hash" '/^attention_backward bf16 1 sequences, 4170 .*: dv\[/s/\] ./] x/' operations.txt
differs "a sampled token" '/^rl step 3: sample.tokens\[/s/\] ./] x/' llama-tied-bf16.txt
differs "the contract's version" '1s/$/0/' qwen3-untied-f32.txt
mkdir changed && cp "$GOLDEN"/*.txt changed && rm changed/llama-tied-f32.txt
expect 1 golden_same changed made
says 'llama-tied-f32.txt is missing'

# ---- one ulp in one operation, in each numerics
lines() { grep -c "^$1 $2 " "$3" || true; }
operations=$(sed -n 's/^  X([A-Z_]*, "\([a-z_]*\)").*/\1/p' "$ZK_SOURCE/kernels/ops.h")
[ "$(wc -w <<<"$operations")" -ge 21 ] || fail "kernels/ops.h was not understood: $operations"
for operation in $operations; do
  expect 0 env ZK_FAULT=check:"$operation" "$ZK_BUILD/tests/golden_faulty" --device cpu --operation "$operation"
  for numerics in f32 bf16; do
    [ "$operation $numerics" != "sum_squares bf16" ] || continue # of f32 gradients in both
    [ "$(lines "$operation" $numerics made/operations.txt)" -gt 0 ] || fail "no line of $operation, $numerics"
    [ "$(lines "$operation" $numerics out)" = "$(lines "$operation" $numerics made/operations.txt)" ] || fail "--operation $operation lost lines"
    if cmp -s <(grep "^$operation $numerics " out) <(grep "^$operation $numerics " made/operations.txt); then
      fail "a fault of $operation in $numerics went unnoticed"
    fi
  done
done

# ---- and in training: the same model at the start, another after a step
export ZK_FAULT=trainer:linear_backward_weight
expect 0 "$ZK_BUILD/zerokl_faulty" sft "$GOLDEN/qwen3-untied.yaml" device=cpu numerics=bf16 run.steps=1 run.dir=faulty
unset ZK_FAULT
expect 0 "$ZK_BUILD/tests/golden_run" faulty
step() { sed -n "s/^sft \(step $1: .*\)/\1/p" made/qwen3-untied-bf16.txt; }
says "$(step 0)"
! grep -qFx "$(step 1)" out || fail "a fault of training went unnoticed"

expect 2 "$ZK_BUILD/tests/golden" --device abacus
tells 'usage: golden --device cpu|cuda'
echo "golden: all as it should be"
