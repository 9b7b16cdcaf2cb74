#!/usr/bin/env bash
# One prompt under one name, sampled a thousand times beside other traffic, greedily and at temperature 1: one completion in bf16, whatever the batch;
# more than one in vendor. Usage: unique.sh MODEL [--sequences N] [--batch N]... [KEY=VALUE]...
#   MODEL: 0.6B, 1.7B or 8B (Qwen3's shape, random weights), or a model's folder. Without --batch: 1, 7, 64, 256 and 1,000.
# Lines are added to runs/bench/unique-MODEL.jsonl, so that a long experiment can be made in pieces, in any order: they must agree, too.
#   unique.sh --judge FILE...   exits 0 if all bf16 lines of one model, temperature and length have one and the same completion, and vendor's
#                               (if there are any) more than one
# ZK_BUILD names a build other than build/. Completions have 64 tokens; rollout.max_new_tokens=16 makes an 8B model's piece of batch 1 four times shorter.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=shapes.sh
. "$here/shapes.sh"

judge() {
  awk '
    function field(key,  found) {
      if (!match($0, "\"" key "\": \"?[^\",}]*")) return ""
      found = substr($0, RSTART, RLENGTH)
      sub(/.*: "?/, "", found)
      return found
    }
    {
      kind = "temperature " field("temperature") ", " field("tokens/completion") " tokens"
      if (field("model") != "") kind = field("model") ", " kind
      unique = field("unique") + 0
    }
    field("numerics") == "bf16" {
      completions[kind] += field("completions"); batches[kind] = batches[kind] " " field("batch")
      if (!((kind, field("completion/hash")) in seen)) different[kind]++
      seen[kind, field("completion/hash")] = 1
      if (unique > 1) different[kind] += unique - 1
    }
    field("numerics") == "vendor" && unique > vendor[kind] { vendor[kind] = unique }
    END {
      for (kind in different) {
        printf "%s: bf16 %d unique of %d in batches of%s", kind, different[kind], completions[kind], batches[kind]
        if (vendor[kind]) printf "; vendor %d", vendor[kind]
        bad = different[kind] > 1 || vendor[kind] == 1
        print bad ? ": NOT as it should be" : ""
        failed += bad; some = 1
      }
      exit failed || !some
    }' "$@"
}

[ $# -gt 0 ] || { sed -n '2,10s/^# //p' "$0" >&2; exit 2; }
if [ "$1" = --judge ]; then
  shift
  judge "$@"
  exit
fi
model=$1
shift
if keys=$(qwen3_init "$model"); then
  keys="init: {$keys}"
elif [ -d "$model" ]; then
  keys="path: $(cd "$model" && pwd)"
else
  echo "$model: none of 0.6B, 1.7B, 8B, and no folder" >&2
  exit 2
fi
options=() others=()
while [ $# -gt 0 ]; do
  case $1 in
  --*) options+=("$1" "$2"); shift 2 ;;
  *) others+=("$1"); shift ;;
  esac
done
cd "$here/../.."
runs=${ZK_RUNS:-runs}/bench
mkdir -p "$runs"
cat >"$runs/unique.yaml" <<END
seed: 1
device: cuda
run: {name: unique, steps: 1}
model: {$keys}
task: {name: reverse, heldout: 16}
rollout: {max_new_tokens: 64, prefill_chunk: 4096}
END
# Prompts of 130 to 260 tokens: more than a tile of keys, some more than two.
"${ZK_BUILD:-build}/zerokl" rollout --unique --min 130 --max 260 "${options[@]}" "$runs/unique.yaml" numerics=bf16 "${others[@]}" |
  tee -a "$runs/unique-$(basename "$model").jsonl"
