#!/usr/bin/env bash
# verl's Parquet, converted: the lines that are expected, a training on them, and rows that are refused by file and number.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
python=$(python_with pyarrow) || skip "no Python here has the package pyarrow (tests/run.sh installs it)"
convert() { "$python" "$ZK_SOURCE/configs/verl_to_jsonl.py" "$@"; }

"$python" - <<'PY'
import pyarrow as pa, pyarrow.parquet as pq

def row(question, truth, answer, **info):
    return {"data_source": "made/up", "prompt": [{"role": "user", "content": question}], "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": truth}, "extra_info": {"index": info.get("index", 0), "answer": answer, "split": info.get("split")}}

rows = [row("What is 1+1?", "2", "It is 2", split="train"), row("Gr\u00fc\u00df \u201cdich\u201d\n\\boxed{}?", "\u00fc", "\u00fc", index=1)]
rows[0]["prompt"].insert(0, {"role": "system", "content": "Be brief."})
pq.write_table(pa.Table.from_pylist(rows), "good.parquet")
pq.write_table(pa.Table.from_pylist([row(f"{a}+{b}=", str(a + b), str(a + b)) for a in range(8) for b in range(8)]), "sums.parquet")
countdown = [{"prompt": "use 1 2", "reward_model": {"ground_truth": {"target": 3, "numbers": [1, 2], "nothing": None}}}]
pq.write_table(pa.Table.from_pylist(countdown, pa.schema([("prompt", pa.string()), ("reward_model", pa.struct([("ground_truth", pa.struct(
    [("target", pa.int64()), ("numbers", pa.list_(pa.int64())), ("nothing", pa.string())]))]))])), "structure.parquet")
pq.write_table(pa.Table.from_pylist([row("a", 2.5, "")]), "real.parquet")
bad = [row("fine", "1", "1"), row("last", "1", "1")]
bad[1]["prompt"] = [{"role": "assistant", "content": "no question"}]
pq.write_table(pa.Table.from_pylist(bad), "order.parquet")
bad[1]["prompt"] = [{"role": "tool", "content": "x"}]
pq.write_table(pa.Table.from_pylist(bad), "role.parquet")
bad[1] = row("x", None, "1")
pq.write_table(pa.Table.from_pylist(bad), "label.parquet")
pq.write_table(pa.Table.from_pylist([{"prompt": "x", "reward_model": {"ground_truth": "1"}, "extra_info": {"image": b"\xff"}}]), "bytes.parquet")
pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), "empty.parquet")
PY

expect 0 convert good.parquet -o good.jsonl --demonstration extra_info.answer
tells "good.jsonl: 2 lines"
cat >expected.jsonl <<'EOF_'
{"prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 1+1?"}], "reward_model": {"ground_truth": "2"}, "demonstration": "It is 2", "data_source": "made/up", "extra_info": {"index": 0, "answer": "It is 2", "split": "train"}}
{"prompt": [{"role": "user", "content": "Grüß “dich”\n\\boxed{}?"}], "reward_model": {"ground_truth": "ü"}, "demonstration": "ü", "data_source": "made/up", "extra_info": {"index": 1, "answer": "ü"}}
EOF_
same good.jsonl expected.jsonl
expect 0 convert good.parquet sums.parquet -o several.jsonl --limit 3
[ "$(wc -l <several.jsonl)" = 3 ] || fail "--limit, or the files' order"
expect 0 convert structure.parquet -o structure.jsonl
grep -qF '"ground_truth": {"target": 3, "numbers": [1, 2]}' structure.jsonl || fail "a structured label: $(cat structure.jsonl)"
expect 0 convert real.parquet -o real.jsonl
grep -qF '"ground_truth": "2.5"' real.jsonl || fail "a real label: $(cat real.jsonl)"

# It trains.
expect 0 convert sums.parquet -o sums.jsonl --demonstration extra_info.answer
tiny_config sums.yaml sums 2
sed -i 's/^task:.*/task: {name: jsonl, path: sums.jsonl, grader: number, heldout: 8, template: chatml}/' sums.yaml
expect 0 "$ZK" sft sums.yaml run.name=warm
expect 0 "$ZK" train sums.yaml model.path=runs/warm/checkpoints/step_000002

# Refused, and nothing is left behind.
refused() { # FILE WORDS [ARGUMENT...]
  local file=$1 words=$2
  shift 2
  expect 1 convert "$file" -o no.jsonl "$@"
  tells "$words"
  [ ! -e no.jsonl ] && [ ! -e no.jsonl.tmp ] || fail "$file: left a file"
}
refused order.parquet 'order.parquet: row 1: its prompt does not end with'
refused role.parquet 'role.parquet: row 1: prompt[0]'
refused label.parquet 'label.parquet: row 1: it has no reward_model.ground_truth'
refused bytes.parquet 'bytes.parquet: row 0: extra_info.image is bytes'
refused good.parquet 'row 0: its extra_info.index is no text' --demonstration extra_info.index
refused empty.parquet 'no rows in empty.parquet'
refused expected.jsonl 'error: '
refused nothing.parquet 'nothing.parquet'
