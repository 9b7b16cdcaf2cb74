#!/usr/bin/env bash
# limit: 120
# Workers without a GPU of their own, or with another kind of device, or without the model: refused with exit code 2 and one line that names the odd one.
. "$(dirname "${BASH_SOURCE[0]}")/../lib/multi.sh"
needs_gpus 2
tiny_config tiny.yaml tiny 1
refused() {
  local text
  for text; do tells "$text"; done
  [ "$(grep -c 'error: ' err)" = 1 ] || fail "not one line of error"
  [ ! -e none/config.yaml ] || fail "a refused start has begun a run"
}
expect 2 workers $((NUM_GPUS + 1)) "$ZK" train tiny.yaml device=cuda run.dir=none
refused "$((NUM_GPUS + 1)) workers on this host and $NUM_GPUS GPU" "start at most $NUM_GPUS here"

# One that sees no GPU, beside two that share one.
cat >blind.sh <<'SH'
#!/bin/sh
[ "$OMPI_COMM_WORLD_RANK" != 1 ] || export CUDA_VISIBLE_DEVICES=
exec "$@"
SH
chmod +x blind.sh
expect 2 workers 3 ./blind.sh "$ZK" train tiny.yaml device=cuda:0 run.dir=none
refused "rank 1 on " 'no GPU'
expect 2 workers "$NUM_GPUS" ./blind.sh "$ZK" train tiny.yaml device=auto run.dir=none
refused 'the device: workers differ: rank 1 on ' 'has a CPU, ' 'set device: cpu or cuda'

# One whose folder lacks the model's weights.
expect 0 "$ZK" sft tiny.yaml device=cuda:0 run.dir=model run.steps=1
cp -r model/checkpoints/step_000001 whole
cp -r whole lacking
rm lacking/model.safetensors
cat >elsewhere.sh <<'SH'
#!/bin/sh
mkdir -p "host$OMPI_COMM_WORLD_RANK"
[ "$OMPI_COMM_WORLD_RANK" = 1 ] && from=lacking || from=whole
ln -sfn "../$from" "host$OMPI_COMM_WORLD_RANK/model"
cd "host$OMPI_COMM_WORLD_RANK" && exec "$@"
SH
chmod +x elsewhere.sh
expect 2 workers 2 ./elsewhere.sh "$ZK" train "$ZK_TMP/tiny.yaml" device=cuda model.path=model run.dir="$ZK_TMP/none"
refused "rank 1 on " 'model: no model.safetensors'
echo "bad input of several workers: refused as it should be"
