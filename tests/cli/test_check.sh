#!/usr/bin/env bash
# cost: 30
# zerokl check: a row per operation, exit 0 here; a fault is named and exits 1; bad input exits 2; the shipped build refuses faults.
set -u
fail() { echo "FAILED: $*"; exit 1; }
unset ZK_FAULT ZK_CPU_ISA

out=$("$ZK_BUILD/zerokl" check --quick) || fail "check --quick exits $?"
grep -Eq '^operation +numerics +device +variant +cases +differing bits +ok$' <<<"$out" || fail "no heading: $out"
grep -Eq '^linear +f32 +cpu +(avx512|avx2|scalar) +[0-9]+ +0 ok$' <<<"$out" || fail "no row for linear: $out"
grep -q DIFFERS <<<"$out" && fail "differs: $out"

out=$(ZK_CPU_ISA=scalar "$ZK_BUILD/zerokl" check --quick) || fail "scalar exits $?"
grep -Eq '^rmsnorm +f32 +cpu +scalar ' <<<"$out" || fail "ZK_CPU_ISA=scalar not obeyed: $out"

out=$(ZK_FAULT=check:rope "$ZK_BUILD/zerokl_faulty" check --quick 2>/dev/null); code=$?
[ $code = 1 ] || fail "a fault exits $code"
for numerics in f32 bf16; do
  grep -Eq "^rope +$numerics +cpu .* DIFFERS$" <<<"$out" || fail "the fault's row: $out"
done
[ "$(grep -c DIFFERS <<<"$out")" = 2 ] || fail "more rows differ: $out"
err=$(ZK_FAULT=check:rope "$ZK_BUILD/zerokl_faulty" check --quick 2>&1 >/dev/null)
grep -q 'operation rope, variant' <<<"$err" || fail "the message: $err"

# Tensor cores that fail bf16 alone: f32 is offered, and works.
err=$(ZK_FAULT=check:linear:bf16 "$ZK_BUILD/zerokl_faulty" check --quick 2>&1 >/dev/null); code=$?
[ $code = 1 ] && grep -q 'in bf16: use numerics: f32, or another device' <<<"$err" || fail "bf16 alone: $code $err"
err=$(ZK_FAULT=check:linear:f32 "$ZK_BUILD/zerokl_faulty" check --quick 2>&1 >/dev/null); code=$?
[ $code = 1 ] && grep -q 'does not keep the contract: do not run on it' <<<"$err" || fail "f32: $code $err"

err=$(ZK_FAULT=check:rope "$ZK_BUILD/zerokl" check --quick 2>&1 >/dev/null); code=$?
[ $code = 2 ] && grep -q 'this build has no faults' <<<"$err" || fail "the shipped build and a fault: $code $err"
err=$(ZK_FAULT=sampler:nothing "$ZK_BUILD/zerokl_faulty" check --quick 2>&1 >/dev/null); code=$?
[ $code = 2 ] && grep -q 'lmhead_logprob' <<<"$err" || fail "an unknown fault: $code $err"
err=$(ZK_CPU_ISA=sse9 "$ZK_BUILD/zerokl" check --quick 2>&1 >/dev/null); code=$?
[ $code = 2 ] && grep -q 'sse9' <<<"$err" || fail "an unknown instruction set: $code $err"
err=$("$ZK_BUILD/zerokl" check --nonsense 2>&1 >/dev/null); code=$?
[ $code = 2 ] || fail "an unknown option exits $code"
echo "check: ok"
