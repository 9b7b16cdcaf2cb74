#!/usr/bin/env bash
# label: slow; cost: 70
# The golden file of operations on every instruction set, by several threads, and on the emulated GPU.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
. "$ZK_SOURCE/tests/golden/compare.sh"

for isa in scalar avx2 avx512; do
  code=0
  ZK_CPU_ISA=$isa OMP_NUM_THREADS=3 "$ZK_BUILD/tests/golden" --device cpu --out $isa.txt 2>err || code=$?
  if [ $code = 2 ] && grep -q ZK_CPU_ISA err; then
    echo "$isa: not on this machine"
    continue
  fi
  [ $code = 0 ] || fail "$isa exits $code"
  grep -q "^# cpu $isa, 3 threads" $isa.txt || fail "$isa was not what ran: $(sed -n 2p $isa.txt)"
  expect 0 golden_diff "$GOLDEN/operations.txt" $isa.txt
done

SIMT=$ZK_BUILD/tests/golden_simt
[ -x "$SIMT" ] || { echo "golden: no emulated GPU in this build"; exit 0; }
expect 0 env OMP_NUM_THREADS=2 "$SIMT" --device cuda --out simt.txt
expect 0 golden_diff "$GOLDEN/operations.txt" simt.txt
echo "golden variants: all as it should be"
