# sanitize TOOL: the short check of all operations and a tiny run in bf16 under compute-sanitizer, whose findings fail the test. Source it first.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

sanitize() {
  local tool=$1 found options=(--error-exitcode 9 --print-limit 20)
  found=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null) || {
    echo "no compute-sanitizer in PATH or /usr/local/cuda/bin"
    exit 77
  }
  [ "$tool" != memcheck ] || options+=(--leak-check full)
  tiny_config warm.yaml warm 16
  tiny_config tiny.yaml tiny 2
  expect 0 "$ZK" sft warm.yaml device=cpu run.dir=warm
  expect 0 "$found" --tool "$tool" "${options[@]}" "$ZK" train tiny.yaml model.path=warm/checkpoints/step_000016 optimizer.lr=0.01 \
    numerics=bf16 device=cuda run.dir=sanitized
  no_mismatch sanitized 2
  expect 0 "$found" --tool "$tool" "${options[@]}" "$ZK" check --quick --device cuda
  echo "$tool: nothing found"
}
