#!/usr/bin/env bash
# cost: 40
# `zerokl rollout --bench` on the emulated GPU: all graphs are recorded before the clock starts, so every step but that of the prompts is replayed.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
tiny_config tiny.yaml bench 1
bench() { expect 0 "${ZK}_simt" rollout --bench tiny.yaml device=cuda model.init.layers=1 rollout.max_batch=10 "$@"; }
count() { sed -n "s|.*\"engine/$1\": \([0-9]*\).*|\1|p" out; }

bench --sequences 7 --min 2 --max 24
steps=$(count steps) replayed=$(count graph_steps)
[ "$steps" -gt 10 ] && [ "$replayed" = $((steps - 1)) ] || fail "$replayed of $steps steps were replayed"
[ "$(count late_steps)" -le "$steps" ] || fail "late steps are not told"
# One that has more than 512 keys in the end, and goes on in wider page tables.
bench --sequences 1 --min 300 --max 512 model.init.max_positions=1024
[ "$(count graph_steps)" = $(($(count steps) - 1)) ] || fail "$(count graph_steps) of $(count steps) steps of a long sequence were replayed"
bench --sequences 7 --min 2 --max 24 rollout.prefill_chunk=16 # control: steps that have a piece of a prompt cannot be recorded
[ "$(count graph_steps)" -lt $(($(count steps) - 1)) ] || fail "steps with prompts are replayed"
echo ok
