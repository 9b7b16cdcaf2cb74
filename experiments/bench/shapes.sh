# shellcheck shell=bash
# The Qwen3 shapes of generation.sh and unique.sh, for rivals in workload.py. Source it.

# qwen3_init 0.6B|1.7B|8B: the keys of model.init that give this shape random weights; another name: exit code 1.
qwen3_init() {
  local shape
  case $1 in
  0.6B) shape="layers: 28, hidden: 1024, heads: 16, kv_heads: 8, intermediate: 3072, tie: true" ;;
  1.7B) shape="layers: 28, hidden: 2048, heads: 16, kv_heads: 8, intermediate: 6144, tie: true" ;;
  8B) shape="layers: 36, hidden: 4096, heads: 32, kv_heads: 8, intermediate: 12288, tie: false" ;;
  *) return 1 ;;
  esac
  echo "architecture: qwen3, $shape, head_dim: 128, vocab: 151936, max_positions: 4096"
}
