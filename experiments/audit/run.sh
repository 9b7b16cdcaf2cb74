#!/usr/bin/env bash
# A run that a GPU made is recomputed by a machine without one; then altered in ten ways, its digests made again to match, and each is found.
#   --gpu makes the archive (results/archive.tar.xz) and verifies it on both devices; --cpu takes it from there.
# --break: the auditor looks at the first of four steps alone.
. "$(dirname "${BASH_SOURCE[0]}")/../lib/experiment.sh"
zk_experiment audit "$@"
archive=$here/results/archive.tar.xz
if [ "$form" = gpu ]; then zk_needs_gpus 1
else [ -s "$archive" ] || zk_skip "there is no $archive, which a GPU makes" "run experiments/audit/run.sh --gpu --record on a machine with a Hopper GPU"; fi
zk_program tamper
tamper=$tools/tamper
export OMP_NUM_THREADS=1

if [ "$form" = gpu ]; then
  small="layers: 1, hidden: 32, heads: 2, kv_heads: 1, intermediate: 64, max_positions: 64"
  sed "s|init: {.*}|init: {$small}}|" experiments/lib/warm.yaml >"$runs/warm.yaml"
  quietly "$runs/warm.log" "$zerokl" sft "$runs/warm.yaml" device=cuda numerics=bf16 run.dir="$runs/warm"
  quietly "$runs/train.log" "$zerokl" train $here/run.yaml device=cuda model.path="$runs/warm/checkpoints/step_000060" run.dir="$runs/audited"
  rm -f "$runs/audited/lock"
  mkdir -p "$out"
  archive=$out/archive.tar.xz
  tar -C "$runs" --sort=name --owner=0 --group=0 --numeric-owner -cJf "$archive" audited
  [ -z "$zk_record" ] || { mkdir -p $here/results && cp "$archive" $here/results/; }
  rm -r "$runs/warm"
else
  tar -C "$runs" -xJf "$archive"
fi
run=$runs/audited

verify() { # RUN [OPTION...]: its table in $runs/table; sets $code
  code=0
  "$zerokl" verify "$1" "${@:2}" ${breaks:+--steps 1} >"$runs/table" 2>"$runs/talk" || code=$?
}
# The first line of the table that tells of a difference which is not a stale digest; what comes out of it for a person.
found() { awk '!/^digests/ && NF > 4 && $(NF) != "-" && /^[a-z_]+ .* [1-9][0-9]* +[a-z]/ { sub(/^[^ ]+ +[0-9,]+ of [0-9,]+ +[0-9,]+ +/, ""); print; exit }' "$runs/table"; }

for device in cpu $([ "$form" = gpu ] && echo cuda); do
  verify "$run" --device $device --replay
  zk_value "as it is, on $device" "$([ $code = 0 ] && echo "all equal" || echo "exit code $code")"
  zk_say "as it is, audited by $device: $(tail -1 "$runs/table")"
done
zk_value "what was checked" "$(tail -1 "$runs/table")"

caught=0 altered=0
# alter WHAT COMMAND...: a copy of the archive that the command alters, sealed again, and audited
alter() {
  local what=$1 sealed
  shift
  rm -rf "$runs/altered"
  cp -r "$run" "$runs/altered"
  quietly "$runs/tamper.log" "$@"
  quietly "$runs/tamper.log" "$tamper" reseal "$runs/altered"
  altered=$((altered + 1))
  verify "$runs/altered" --device cpu --replay
  sealed=$(grep -q '^digests .* 0  -$' "$runs/table" && echo "say nothing" || echo "DIFFER")
  [ $code != 1 ] || [ "$sealed" = DIFFER ] || caught=$((caught + 1)) # what digests tell of is not caught by recomputing
  zk_row altered "$what" digests "$sealed" verify "$([ $code = 1 ] && echo found || echo "exit code $code")" "what it says" "$(found)"
}
flip() { alter "$1" "$tamper" flip "$runs/altered" "${@:2}"; }
step=trajectories/step_000003.h5
last=checkpoints/step_000004
flip "a sampled token" $step sample/tokens 5 0
flip "a sampler's log-probability, by one ulp" $step sample/sampler_logprob 5 0
flip "a trainer's log-probability, by one ulp" $step sample/trainer_logprob 5 0
if [ "$form" != tiny ]; then
  flip "a reward" $step sample/reward 9 23
  flip "an advantage, by one ulp" $step sample/advantage 9 0
  flip "why a completion ended" $step sample/finish_reason 9 1
  flip "a token of a prompt" $step prompt/tokens 1 0
  flip "a weight of the last checkpoint, by one ulp" $last/model.safetensors model.layers.0.mlp.up_proj.weight 17 0
  flip "a moment of Adam's, by one ulp" $last/optimizer.h5 exp_avg 101 0
  alter "the accuracy that is told" sed -i '$s/"eval\/accuracy": [0-9.]*/"eval\/accuracy": 0.9375/' "$runs/altered/metrics.jsonl"
fi
zk_value altered $altered
zk_value caught $caught
zk_finish
