# sanitize TOOL: a run in bf16 under compute-sanitizer, whose findings fail the test: the check that starts every run, of all operations in both
# numerics, and a step of a model that is small but of a shape that the large kernels take, over some thousand tokens. Source it first.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

sanitize() {
  local tool=$1 found options=(--error-exitcode 9 --print-limit 20)
  found=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null) || {
    echo "no compute-sanitizer in PATH or /usr/local/cuda/bin"
    exit 77
  }
  [ "$tool" != memcheck ] || options+=(--leak-check full)
  cat >sanitized.yaml <<'EOF'
seed: 7
numerics: bf16
device: cuda
run: {name: sanitized, steps: 1}
model: {init: {architecture: qwen3, layers: 1, hidden: 256, heads: 4, kv_heads: 2, head_dim: 128, intermediate: 768, vocab: 9000, max_positions: 512}}
task: {name: reverse, min_length: 100, max_length: 250, heldout: 2}
rollout: {prompts_per_step: 8, samples_per_prompt: 4, max_new_tokens: 6, ignore_eos: true}
optimizer: {lr: 0.01, weight_decay: 0.1}
trainer: {grad_leaves: 2}
log: {progress: false}
EOF
  expect 0 "$found" --tool "$tool" "${options[@]}" "$ZK" train sanitized.yaml run.dir=sanitized
  no_mismatch sanitized 1
  echo "$tool: nothing found"
}
