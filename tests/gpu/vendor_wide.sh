#!/usr/bin/env bash
# limit: 200
# The negative control at real widths: four layers of Qwen3-0.6B's size over prompts that cross splits. A library's arithmetic must give sampler
# and trainer different log-probabilities, and bf16 must not.
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
[ -z "$EMULATED" ] || { echo "an emulated GPU has no cuBLAS"; exit 77; }
awk 'BEGIN { srand(1); for (i = 0; i < 16; i++) { p = ""; n = 500 + int(rand() * 400); for (k = 0; k < n; k++) p = p sprintf("%c", 97 + int(rand() * 26));
  printf "{\"prompt\": \"%s=\", \"label\": \"a\"}\n", p } }' >data.jsonl
cat >wide.yaml <<'EOF'
seed: 3
device: cuda
run: {name: wide, steps: 2}
model: {init: {architecture: qwen3, layers: 4, hidden: 1024, heads: 16, kv_heads: 8, head_dim: 128, intermediate: 3072, max_positions: 1024}}
task: {name: jsonl, path: data.jsonl, grader: exact, heldout: 4}
rollout: {prompts_per_step: 4, samples_per_prompt: 4, max_new_tokens: 64}
optimizer: {lr: 1.0e-4}
checkpoint: {every: 0}
eval: {every: 0}
log: {progress: false}
EOF
for numerics in bf16 vendor; do
  code=0
  "$ZK" train wide.yaml numerics=$numerics run.dir=$numerics >out 2>err || code=$?
  [ $code = 0 ] || { cat err; [ $numerics = vendor ] && grep -q cublas err && exit 77; fail "$numerics: exit code $code"; }
  sed -n 's|.*"mismatch/tokens": \([0-9]*\), "mismatch/max_abs": \([^,]*\), "mismatch/kl_k1": \([^,]*\), "mismatch/kl_k3": \([^,]*\),.*|\1 tokens differ, by at most \2; KL k1 \3, k3 \4|p' \
    $numerics/metrics.jsonl | sed "s/^/$numerics: /"
done
no_mismatch bf16 2
! grep -q '"mismatch/tokens": 0,' vendor/metrics.jsonl || fail "vendor: no token differs, so this control controls nothing"
