#!/usr/bin/env bash
# limit: 500
# Llama, Qwen2 and Qwen3 at real widths: log-probabilities against transformers' on the same GPU, in f32 and bf16.
# ZK_PYTHON: a Python with torch (for the GPU) and transformers (default python3).
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
python=${ZK_PYTHON:-python3}
"$python" -c 'import torch, transformers, safetensors' 2>err || {
  echo "$python has no torch and transformers (ZK_PYTHON names another)"
  exit 77
}
device=$(size cuda cpu)
[ "$device" = cpu ] || "$python" -c 'import torch; assert torch.cuda.is_available()' 2>err || {
  echo "the torch of $python sees no GPU"
  exit 77
}
script=$ZK_SOURCE/tests/gpu/logits.py
for model in llama qwen2 qwen3; do
  expect 0 "$python" "$script" make $model "$device" "$(size real small)"
  for numerics in f32 bf16; do
    expect 0 "$ZK" score $model $model/in.jsonl numerics=$numerics device=cuda
    mv out $model/$numerics.jsonl
  done
  "$python" "$script" compare $model || fail "$model: the errors above are too large"
done
