#!/usr/bin/env bash
# experiments/bench/targets.py with a zerokl that only says what it is told: verdicts on its rows, a piece that fails, and a second run that makes what
# is missing or was made by another build.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
command -v python3 >/dev/null || skip "there is no python3"
mkdir build
cat >build/zerokl <<'END'
#!/usr/bin/env bash
[ "$1" != --version ] || { cat "$ZK_TMP/version"; exit; }
echo "$*" >>"$ZK_TMP/calls"
row() { printf '{"operation": "linear forward", "shape": "%s", "us": 10, "rate": 1, "unit": "GB/s", "floor": %s, "rival": "cuBLAS", "rival_us": %s, "x_rival": %s}' "$@"; }
case $1 in
bench)
  [ "${*: -1}" != model ] || { echo "error: no model"; exit 1; }
  while [ "$1" != --json ]; do shift; done
  { printf '{"device": "a GPU", "commit": "c", "cuda_runtime": 13000, "cuda_driver": 13000, "library": "", "copy_gb_per_s": 4000, "gflop_per_s": 700000, "rows": ['
    row "M 512 N 6144 K 4096" 0.9 11 1.1; printf ', '; row "M 512 N 4096 K 4096" 0.9 9 0.9; printf ', '; row "M 512 N 4096 K 12288" 0.9 5 0.5
    printf ', {"operation": "train 1.7B bf16", "shape": "step 4 x 4096", "us": 400000, "rate": 40960, "unit": "tok/s", "floor": 0.5, "rival": "vendor", "rival_us": 360000, "x_rival": 0.9}]}'; } >"$2" ;;
rollout)
  echo '{"numerics": "bf16", "sequences": 256, "perf/rollout_tokens_per_s": 25000, "engine/host_fraction": 0.2, "engine/steps": 9, "engine/graph_steps": 4}' ;;
esac
END
chmod +x build/zerokl
export CUDA_VISIBLE_DEVICES=0 # one GPU, whatever there is
echo one >version
export ZK_TMP ZK_BUILD=$ZK_TMP/build ZK_RUNS=$ZK_TMP/runs
targets() { expect 0 python3 "$ZK_SOURCE/experiments/bench/targets.py" "$ZK_TMP/results" --only kernels,model,train-1.7B,0.6B-bf16 "$@"; }
targets
says "model: FAILED: error: no model"
grep -q "M 512 N 6144 K 4096 | 10.0 us | cuBLAS 11.0 us | 1.10 | 0.88 | 1.00 | goal |" out || fail "a row at goal"
grep -q "M 512 N 4096 K 4096 .* | 0.90 | 0.88 | 1.00 | must |" out || fail "a row at must"
grep -q "M 512 N 4096 K 12288 .* | 0.50 | 0.88 | 1.00 | MISSES |" out || fail "a row below"
grep -q "0.6B on shared | 25,000 tok/s | floor .* | 25,000 | 22,000 | 29,000 | must |" out || fail "generation"
grep -q "device busy | 0.80 | 0.95 | 0.99 | MISSES |" out || fail "the host's share"
grep -q "train 1.7B bf16, step 4 x 4096 | 400000.0 us | MFU: 989 TFLOP/s 200000.0 us | 0.50 | 0.45 | 0.58 | must |" out || fail "MFU"
grep -q "train 1.7B bf16, step 4 x 4096 | .* | vendor 360000.0 us | 0.90 | 0.95 | 1.00 | MISSES |" out || fail "the price of bits"
says "rows: 1 reach goal, 3 more reach must, 3 miss it"
grep -q "MISSES" results/*.md && grep -q '"verdict": "MISSES"' results/*.json || fail "what is written"
: >calls
targets
[ "$(cut -d' ' -f1 calls)" = bench ] || fail "made again: $(cat calls)"
targets --again
[ "$(wc -l <calls)" = 5 ] || fail "not made again: $(cat calls)"
: >calls
echo two >version
targets
[ "$(wc -l <calls)" = 4 ] || fail "pieces of another build are kept: $(cat calls)"
targets --seconds 1 # the piece that fails
says "model: no time left"
echo three >version
expect 1 python3 "$ZK_SOURCE/experiments/bench/targets.py" results --only kernels --seconds 1
tells "no \`zerokl bench\` ran: no table"
expect 2 python3 "$ZK_SOURCE/experiments/bench/targets.py" results --only kernels,modell
tells "no such piece: modell"

# Training alone: its rows and no others; beside them what PyTorch said.
echo '{"rival": "PyTorch", "shape": "1.7B", "attention": "cudnn", "sequences": 4, "length": 4096, "tokens_per_s": 30000, "mfu": 0.4}' >runs/bench/targets/train-torch.out
touch runs/bench/targets/train-torch{,4B}.done runs/bench/targets/train-cudnn.done
expect 0 python3 "$ZK_SOURCE/experiments/bench/targets.py" results --only train
grep -q "step of 1.7B, 4 x 4096 | 40,960 tok/s | PyTorch, cudnn attention, 30,000 tok/s, MFU 0.40 | 1.37 | 1.00 | 1.30 | goal |" out || fail "PyTorch's step"
! grep -q "^| [^t-]" <(grep -v "^| *|" out) || fail "rows that are not of training"
says "train-8B: needs 4 GPUs"

# All of a GPU's suites are among the pieces.
suites=$("$ZK" bench --help | tr -s ' \n' ' ' | sed -n 's/.*Suites: \([a-z, ]*\), model; .* on a GPU \([a-z_, ]*\); under.*/\1, \2/p' | tr -d ,)
for suite in ${suites:?}; do
  grep -q "^bench .* $suite\( \|\$\)" calls || fail "targets.py leaves the suite $suite out"
done
echo ok
