# What tests of the executable share. Source it first: . "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# The test then runs in a folder of its own, $ZK_TMP, which goes at the end. ZK_BUILD is the build folder (CTest sets it).
set -euo pipefail
: "${ZK_BUILD:?the build folder, as CTest sets it}"
ZK_SOURCE=${ZK_SOURCE:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
ZK=$ZK_BUILD/zerokl
TAMPER=$ZK_BUILD/tests/tamper
ZK_TMP=$(mktemp -d)
trap 'rm -rf "$ZK_TMP"' EXIT
cd "$ZK_TMP"

# These models are so small that threads would only wait for each other. Workers sleep while they wait; root may start them.
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
# What mpirun keeps of a job lies here too: where two jobs share a folder for that, one that ends can take it from one that begins.
export TMPDIR=$ZK_TMP
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_btl_vader_single_copy_mechanism=none

fail() {
  echo "FAILED: $*" >&2
  for f in out err; do [ ! -s "$ZK_TMP/$f" ] || sed "s/^/  $f: /" "$ZK_TMP/$f" >&2; done
  exit 1
}

# expect CODE COMMAND...: runs it, stdout to $ZK_TMP/out and stderr to $ZK_TMP/err, and fails unless it exits with CODE.
expect() {
  local code=$1 got=0
  shift
  "$@" >"$ZK_TMP/out" 2>"$ZK_TMP/err" || got=$?
  [ "$got" = "$code" ] || fail "exit code $got, not $code: $*"
}

says() { grep -qF -- "$1" "$ZK_TMP/out" || fail "stdout does not say: $1"; }   # of the last `expect`
tells() { grep -qF -- "$1" "$ZK_TMP/err" || fail "stderr does not say: $1"; }
same() { cmp -s "$1" "$2" || fail "$1 and $2 differ"; }

# For tests that want other software: skip WHY leaves the test as skipped. python_with MODULE...: prints the Python that has them
# (ZK_PYTHON; the one that tests/run.sh makes; python3), and fails when none has.
skip() { echo "skipped: $*"; exit 77; }
python_with() {
  local python
  for python in ${ZK_PYTHON:+"$ZK_PYTHON"} "$ZK_BUILD/python/bin/python" python3; do
    command -v "$python" >/dev/null && "$python" -c "import $(IFS=,; echo "$*")" 2>/dev/null && echo "$python" && return 0
  done
  return 1
}

# workers N COMMAND...: under mpirun, whose library leaks at exit (which is not ours to find in a sanitizer build).
workers() {
  local n=$1
  shift
  ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0 mpirun -n "$n" --oversubscribe --bind-to none "$@"
}

# tiny_config FILE NAME STEPS: a model that trains in a blink on reversing one character. Any key can be given again on the command line.
tiny_config() {
  cat >"$1" <<EOF
seed: 7
numerics: f32
run: {name: $2, steps: $3}
model:
  init: {architecture: llama, layers: 2, hidden: 32, heads: 4, kv_heads: 2, intermediate: 64, max_positions: 64}
task: {name: reverse, min_length: 1, max_length: 1, heldout: 2}
sft: {batch: 32}
rollout: {prompts_per_step: 6, samples_per_prompt: 5, max_new_tokens: 8}
optimizer: {lr: 0.03}
checkpoint: {every: 2}
eval: {every: 2, samples: 2}
log: {progress: false}
EOF
}

# tiny_run STEPS [KEY=VALUE...]: runs/warm (16 steps of sft, so that some samples earn something), then runs/tiny.
tiny_run() {
  local steps=$1
  shift
  tiny_config warm.yaml warm 16
  tiny_config tiny.yaml tiny "$steps"
  expect 0 "$ZK" sft warm.yaml checkpoint.every=8
  expect 0 "$ZK" train tiny.yaml model.path=runs/warm/checkpoints/step_000016 optimizer.lr=0.01 "$@"
}

# element_of RUN/trajectories/step_N.h5 DATASET INDEX: one number out of it.
element_of() { h5dump -d "$2" -s "$3" -c 1 -y -w 0 -A 0 "$1" | sed -n '/DATA {/{n;p}' | tr -d ' '; }
