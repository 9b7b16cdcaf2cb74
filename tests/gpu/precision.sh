#!/usr/bin/env bash
# limit: 200
# Each bf16 operation's distance from float64 is no larger than that of PyTorch's bf16 on the same GPU.
# ZK_PYTHON: a Python with torch for the GPU (default python3).
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
python=${ZK_PYTHON:-python3}
device=$(size cuda cpu)
"$python" -c "import numpy, torch; assert '$device' == 'cpu' or torch.cuda.is_available()" 2>err || {
  echo "$python has no torch that can use the device (ZK_PYTHON names another)"
  exit 77
}
[ -x "$ZK_BUILD/tests/operate" ] || fail "$ZK_BUILD has no tests/operate"
"$python" "$ZK_SOURCE/tests/gpu/precision.py" "$ZK_BUILD/tests/operate" "$device" "$(size real small)" || fail "further from float64 than PyTorch's bf16, see above"
