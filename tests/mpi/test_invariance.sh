# cost: 100
# The law on whole runs: ranks, threads, instruction sets, memory in turns, pages, batches, chunks, guesses, the prefix cache, microbatches, preemption change no bit.
. "$(dirname "$0")/common.sh"
reference

for n in 2 3 4; do
  workers $n "$ZK_BUILD/zerokl" train tiny.yaml run.dir=ranks$n 2>log || { cat log >&2; fail "$n ranks"; }
  same_chain ranks$n "$n ranks"
done
OMP_NUM_THREADS=2 zerokl train tiny.yaml run.dir=threads2 2>log || { cat log >&2; fail "2 threads"; }
same_chain threads2 "2 threads"
workers 3 "$ZK_BUILD/zerokl" train tiny.yaml run.dir=turns trainer.turns=always checkpoint.write=false eval.every=2 2>log || { cat log >&2; fail "memory in turns"; }
same_chain turns "memory in turns"
# The audit takes turns too: on a CPU a touch of memory at rest ends the process.
workers 2 "$ZK_BUILD/zerokl" verify turns --replay --partial >table 2>log || { cat table log >&2; fail "the audit of a run with memory in turns"; }
[ -z "$(ls turns/checkpoints)" ] || fail "checkpoints, and none were wanted"
for isa in scalar avx2 avx512; do
  if ! ZK_CPU_ISA=$isa zerokl train tiny.yaml "run.dir=$isa" 2>log; then
    grep -q "not supported" log || { cat log >&2; fail "$isa"; }
    echo "$isa: not on this machine"
    continue
  fi
  same_chain $isa "$isa"
done
i=0
for change in rollout.page_tokens=16 rollout.page_tokens=32 rollout.page_tokens=128 rollout.max_batch=1 rollout.max_batch=3 rollout.max_batch=64 \
  rollout.prefill_chunk=5 rollout.prefill_chunk=64 rollout.prefill_chunk=1000 "rollout.page_tokens=16 rollout.kv_bytes=210KiB" \
  "rollout.page_tokens=16 rollout.kv_bytes=210KiB rollout.prefix_cache=false" rollout.speculate=1 "rollout.speculate=6 rollout.page_tokens=16" trainer.recompute=true trainer.turns=always; do
  i=$((i + 1))
  # shellcheck disable=SC2086
  ZK_LOG=debug zerokl train tiny.yaml run.dir=change$i $change 2>log || { cat log >&2; fail "$change"; }
  same_chain change$i "$change"
  case $change in *kv_bytes*) grep -q 'preemptions [1-9]' log || { cat log >&2; fail "nothing was preempted"; } ;; esac
done

# Microbatches of one, two and four chunks: longer leaves, so that there is more than one chunk in a leaf.
long="rollout.prompts_per_step=24 rollout.samples_per_prompt=8 trainer.grad_leaves=2 run.steps=2"
for tokens in 4096 8192 16384; do
  # shellcheck disable=SC2086
  zerokl train tiny.yaml run.dir=micro$tokens trainer.microbatch_tokens=$tokens $long 2>log || { cat log >&2; fail "microbatch $tokens"; }
  diff <(chain micro4096) <(chain micro$tokens) || fail "microbatches of $tokens tokens: other bits"
done

# Negative controls: another seed, and another number of leaves (which is part of the identity), give other bits.
zerokl train tiny.yaml run.dir=seed seed=4 2>/dev/null
diff <(chain reference) <(chain seed) >/dev/null && fail "another seed gives the same bits"
zerokl train tiny.yaml run.dir=leaves trainer.grad_leaves=4 2>/dev/null
diff <(chain reference) <(chain leaves) >/dev/null && fail "another number of leaves gives the same bits"
workers 4 "$ZK_BUILD/zerokl" train tiny.yaml run.dir=toomany trainer.grad_leaves=2 2>log && fail "more ranks than leaves accepted"
grep -q 'trainer.grad_leaves' log || { cat log >&2; fail "no clear message for more ranks than leaves"; }
echo "all schedules: the same bits"
