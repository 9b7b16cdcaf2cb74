#!/usr/bin/env bash
# experiments/bench/unique.sh: pieces of one experiment are put together and judged, from any folder; the recorded ones hold.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
unique=$ZK_SOURCE/experiments/bench/unique.sh
piece() { # NUMERICS BATCH TEMPERATURE TOKENS UNIQUE HASH
  printf '{"step": 1, "numerics": "%s", "batch": %d, "temperature": %s, "tokens/prompt": 228, "tokens/completion": %d, "completions": 1000, "unique": %d, "completion/hash": "%s"}\n' "$@"
}
judge() { expect "$1" "$unique" --judge pieces; }

{ piece bf16 7 1.0 16 1 aa; piece bf16 64 1.0 16 1 aa; piece vendor 7 1.0 16 9 bb; piece vendor 64 1.0 16 172 bb; } >pieces
judge 0
says "temperature 1.0, 16 tokens: bf16 1 unique of 2000 in batches of 7 64; vendor 172"
piece bf16 256 0.0 16 1 cc >>pieces # another temperature has another completion
judge 0
[ "$(wc -l <out)" = 2 ] || fail "not a line for each temperature"
cp pieces good
piece bf16 1 1.0 16 1 dd >>pieces # one in each batch, and not the same
judge 1
says "bf16 2 unique of 3000 in batches of 7 64 1; vendor 172: NOT as it should be"
{ cat good; piece bf16 1 1.0 16 3 aa; } >pieces
judge 1
says "bf16 3 unique of 3000"
{ piece bf16 7 1.0 16 1 aa; piece vendor 7 1.0 16 1 bb; } >pieces # a control that shows nothing
judge 1
piece vendor 7 1.0 16 9 bb >pieces
judge 1 # nothing to judge
{ piece bf16 7 1.0 8 1 aa | sed 's/^{/{"model": "small", /'; piece bf16 7 1.0 8 1 bb | sed 's/^{/{"model": "large", /'; } >pieces
judge 0
says "small, temperature 1.0, 8 tokens: bf16 1 unique of 1000"
expect 0 "$unique" --judge "$ZK_SOURCE"/experiments/bench/results/*-unique.jsonl

# Pieces are added to one file, whoever starts them where; settings and batches reach zerokl.
mkdir build model
cat >build/zerokl <<'END'
#!/usr/bin/env bash
echo "$*" >>"$ZK_TMP/calls"
echo '{"numerics": "bf16"}'
END
chmod +x build/zerokl
export ZK_TMP ZK_BUILD=$ZK_TMP/build ZK_RUNS=$ZK_TMP/runs
expect 0 "$unique" 8B --batch 7 rollout.max_new_tokens=8
expect 0 "$unique" 8B numerics=vendor
[ "$(wc -l <runs/bench/unique-8B.jsonl)" = 2 ] || fail "two pieces are not two lines"
grep -qx "rollout --unique --min 130 --max 260 --batch 7 $ZK_RUNS/bench/unique.yaml numerics=bf16 rollout.max_new_tokens=8" calls || fail "called with: $(cat calls)"
grep -q "layers: 36, hidden: 4096" runs/bench/unique.yaml || fail "another shape: $(cat runs/bench/unique.yaml)"
expect 0 "$unique" model
grep -q "path: $ZK_TMP/model}" runs/bench/unique.yaml && [ -s runs/bench/unique-model.jsonl ] || fail "a folder: $(cat runs/bench/unique.yaml)"
expect 2 "$unique" 9B
tells "9B: none of 0.6B, 1.7B, 8B, and no folder"
echo ok
