# What the GPU tests share; source it first. It brings tests/lib.sh: a folder of its own, expect, says, tells, fail.
# A test's line "# limit: N" is the seconds that gpu.sh grants it; exit code 77 with one line of reason means skipped.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../lib.sh"
EMULATED=${ZK_GPU_EMULATED:-}
# The CPU's side of a comparison is the slow one; threads change no bit.
OMP_NUM_THREADS=$(nproc)
[ "$OMP_NUM_THREADS" -le 8 ] || OMP_NUM_THREADS=8
export OMP_NUM_THREADS

# size FULL SMALL: the second one on an emulated GPU
size() { if [ -n "$EMULATED" ]; then echo "$2"; else echo "$1"; fi; }

# chain RUN: weights/hash and state/hash after every step, and the SHA-256 of every trajectory file
chain() {
  sed -n 's|.*"weights/hash": "\([0-9a-f]*\)", "state/hash": "\([0-9a-f]*\)".*|\1 \2|p' "$1/metrics.jsonl"
  [ ! -d "$1/trajectories" ] || (cd "$1/trajectories" && find . -name '*.h5' | sort | xargs -r sha256sum)
}
# alike A B WHAT: both runs have the same chain
alike() {
  [ -n "$(chain "$1")" ] || fail "$3: $1 has no chain"
  diff <(chain "$1") <(chain "$2") >diff.out || { cat diff.out; fail "$3: $1 and $2 have other bits"; }
  echo "$3: $(chain "$1" | wc -l) lines equal"
}
# moves RUN: its updates changed the weights, nearly every one (a group whose rewards are all equal teaches nothing)
moves() {
  local lines distinct
  lines=$(sed -n '/"weights\/hash"/p' "$1/metrics.jsonl" | wc -l)
  distinct=$(sed -n 's|.*"weights/hash": "\([0-9a-f]*\)".*|\1|p' "$1/metrics.jsonl" | sort -u | wc -l)
  [ "$distinct" -gt 1 ] && [ $((2 * distinct)) -gt "$lines" ] || fail "$1: $distinct distinct weights in $lines lines: its updates change nothing"
}
# no_mismatch RUN STEPS: sampler and trainer agreed on every token of every step
no_mismatch() {
  [ "$(grep -c '"mismatch/tokens": 0,' "$1/metrics.jsonl")" = "$2" ] || fail "$1: sampler and trainer differ, or not all of its $2 steps are there"
}

# A task whose prompts cross tiles of 64 and of 128 keys and pages, and whose last letter can only be guessed, so that rewards differ within a group.
# long_task_files NAME [ARCHITECTURE KEY: VALUE...]: data.jsonl, NAME-warm.yaml (sft from scratch) and NAME.yaml (RL from what that leaves)
long_task_files() {
  local name=$1 model=${2:-"layers: 2, kv_heads: 2, head_dim: 16, max_positions: $(size 256 128), $(size 'hidden: 128, heads: 8, intermediate: 256' 'hidden: 32, heads: 2, intermediate: 48')"}
  awk -v span="$(size 150 60)" 'BEGIN { srand(1); for (i = 0; i < 72; i++) { p = ""; n = 20 + int(rand() * span);
    for (k = 0; k < n; k++) p = p sprintf("%c", 97 + int(rand() * 26)); a = "ab" (rand() < 0.5 ? "u" : "v");
    printf "{\"prompt\": \"%s=\", \"label\": \"%s\", \"demonstration\": \"%s\"}\n", p, a, a } }' >data.jsonl
  cat >"$name-warm.yaml" <<EOF
seed: 3
run: {name: warm, steps: 40}
model: {init: {$model}}
task: {name: jsonl, path: data.jsonl, grader: exact, heldout: 8}
sft: {batch: 16}
rollout: {max_new_tokens: 12}
optimizer: {lr: 0.01, grad_clip: 1.0}
checkpoint: {every: 0}
eval: {every: 0}
log: {every: 100, progress: false}
EOF
  cat >"$name.yaml" <<EOF
seed: 3
run: {name: rl, steps: 3}
model: {path: $name-warm/checkpoints/step_000040}
task: {name: jsonl, path: data.jsonl, grader: exact, heldout: 8}
rollout: {prompts_per_step: $(size 8 3), samples_per_prompt: $(size 8 4), max_new_tokens: 12}
optimizer: {lr: 0.001, grad_clip: 1.0}
checkpoint: {every: 1, keep: 0}
eval: {every: 0}
log: {every: 100, progress: false}
EOF
}
# long_task NAME...: the same, and NAME-warm itself
long_task() {
  long_task_files "$@"
  expect 0 "$ZK" sft "$1-warm.yaml" run.dir="$1-warm" device=cpu
}
