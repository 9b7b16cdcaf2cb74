# Sourced by the run tests, in lib.sh's place: a tiny run of five steps, and the chain of its hashes.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

# Prompts that cross KV pages and tiles of 64 keys; answers whose last letter a warmed-up model can only guess, so that rewards differ
# within a group and every update moves the weights.
awk 'BEGIN { srand(1); for (i = 0; i < 72; i++) { p = ""; n = 20 + int(rand() * 60); for (k = 0; k < n; k++) p = p sprintf("%c", 97 + int(rand() * 26));
  a = "abcdefghijklmnopqrst" (rand() < 0.5 ? "u" : "v"); printf "{\"prompt\": \"%s=\", \"label\": \"%s\", \"demonstration\": \"%s\"}\n", p, a, a } }' >data.jsonl
cat >warm.yaml <<'YAML'
seed: 3
run: {name: warm, steps: 60}
model: {init: {layers: 2, hidden: 48, heads: 6, kv_heads: 2, head_dim: 16, intermediate: 96, max_positions: 256}}
task: {name: jsonl, path: data.jsonl, grader: exact, heldout: 8}
sft: {batch: 16}
rollout: {max_new_tokens: 40}
optimizer: {lr: 0.01, grad_clip: 1.0}
checkpoint: {every: 0}
eval: {every: 0}
log: {every: 100}
YAML
cat >tiny.yaml <<'YAML'
seed: 3
run: {name: tiny, steps: 5}
model: {path: warm/checkpoints/step_000060}
task: {name: jsonl, path: data.jsonl, grader: exact, heldout: 8}
rollout: {prompts_per_step: 6, samples_per_prompt: 4, max_new_tokens: 40}
optimizer: {lr: 0.001, grad_clip: 1.0}
checkpoint: {every: 2}
eval: {every: 0}
log: {every: 100}
YAML

zerokl() { "$ZK_BUILD/zerokl" "$@"; }
# chain RUN: weights/hash and state/hash of every step, and the digest of every trajectory file
chain() {
  sed -n 's|.*"weights/hash": "\([0-9a-f]*\)", "state/hash": "\([0-9a-f]*\)".*|\1 \2|p' "$1/metrics.jsonl"
  (cd "$1/trajectories" && sha256sum ./*.h5)
}
# same_chain RUN WHAT: RUN's chain is the reference's
same_chain() { diff <(chain reference) <(chain "$1") >/dev/null || { diff <(chain reference) <(chain "$1") >&2 || true; fail "$2: other bits"; }; }
reference() {
  zerokl sft warm.yaml run.dir=warm 2>warm.log || { cat warm.log >&2; fail "the warm-up"; }
  zerokl train tiny.yaml run.dir=reference 2>reference.log || { cat reference.log >&2; fail "the reference run"; }
  [ "$(chain reference | wc -l)" -eq 11 ] || fail "the reference has not six lines of hashes and five trajectories"
  [ "$(sed -n 's|.*"weights/hash": "\([0-9a-f]*\)".*|\1|p' reference/metrics.jsonl | sort -u | wc -l)" -eq 6 ] || fail "some update changed nothing"
}
