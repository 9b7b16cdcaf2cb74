# cost: 60
# Negative controls: one ulp in one operation on one side, and the step stops (forward), or the hash is another (backward).
. "$(dirname "$0")/common.sh"
reference
faulty=$ZK_BUILD/zerokl_faulty

for side in sampler trainer; do
  for op in embedding linear rmsnorm rope kv_write attention swiglu; do
    code=0
    ZK_FAULT=$side:$op "$faulty" train tiny.yaml run.dir=f_${side}_$op run.steps=1 2>log || code=$?
    [ $code -eq 1 ] || { cat log >&2; fail "$side:$op: exit code $code"; }
    grep -Eq 'step 1, prompt [0-9]+, sample [0-9]+, position [0-9]+: sampler .*\(0x[0-9a-f]{8}\), trainer .*\(0x[0-9a-f]{8}\)' log ||
      { cat log >&2; fail "$side:$op: the message does not name step, prompt, sample, position and both patterns"; }
    [ ! -e f_${side}_$op/checkpoints/step_000001 ] || fail "$side:$op: updated all the same"
  done
done
for fault in sampler:lmhead_sample trainer:lmhead_logprob; do
  code=0
  ZK_FAULT=$fault "$faulty" train tiny.yaml run.dir=f_$fault run.steps=1 2>log || code=$?
  [ $code -eq 1 ] || { cat log >&2; fail "$fault: exit code $code"; }
done
code=0
ZK_FAULT=sampler:lmhead_sample:lse "$faulty" train tiny.yaml run.dir=f_lse run.steps=1 2>log || code=$?
[ $code -eq 1 ] && grep -Eq 'disagree on a log-sum-exp .*step 1, prompt [0-9]+, sample [0-9]+, position [0-9]+: sampler .*\(0x[0-9a-f]{8}\), trainer' log &&
  [ ! -e f_lse/checkpoints/step_000001 ] || { cat log >&2; fail "a log-sum-exp of the sampler's alone: exit code $code"; }
for op in linear_backward_input linear_backward_weight rmsnorm_backward rope_backward attention_backward swiglu_backward \
  lmhead_backward; do
  ZK_FAULT=trainer:$op "$faulty" train tiny.yaml run.dir=b_$op run.steps=1 2>log || { cat log >&2; fail "trainer:$op"; }
  [ "$(chain b_$op | sed -n 2p)" != "$(chain reference | sed -n 2p)" ] || fail "trainer:$op: the same weights"
done
# An ulp of the embedding's gradient can vanish where a tied head's or another leaf's is added to it, or where it is clipped: here is one alone.
untied="model.init.tie=false sft.batch=1 trainer.grad_leaves=1 optimizer.grad_clip=0 run.steps=1"
# shellcheck disable=SC2086
{
  zerokl sft warm.yaml $untied run.dir=untied 2>log || { cat log >&2; fail "an untied model"; }
  ZK_FAULT=trainer:embedding_backward "$faulty" sft warm.yaml $untied run.dir=b_embedding 2>log || { cat log >&2; fail "trainer:embedding_backward"; }
}
hashes() { sed -n 's|.*"weights/hash": ||p' "$1/metrics.jsonl" | tail -1; }
[ "$(hashes untied)" != "$(hashes b_embedding)" ] || fail "trainer:embedding_backward: the same state"
code=0
ZK_FAULT=sampler:linear zerokl train tiny.yaml run.dir=shipped run.steps=1 2>log || code=$?
[ $code -ne 0 ] || fail "the shipped program takes faults"
code=0
ZK_FAULT=nobody:linear "$faulty" train tiny.yaml run.dir=nobody run.steps=1 2>log || code=$?
[ $code -eq 2 ] || fail "an unknown side is accepted"
# NCCL's sum in the tree's place, which is for GPUs (tests/gpu/multi/chain.sh), and for no other operation.
code=0
ZK_FAULT=trainer:add:vendor workers 2 "$faulty" train tiny.yaml run.dir=vendor run.steps=1 2>log || code=$?
[ $code -eq 2 ] && grep -q 'have not a GPU each' log || { cat log >&2; fail "NCCL's sum among CPUs: exit code $code"; }
code=0
ZK_FAULT=trainer:linear:vendor "$faulty" train tiny.yaml run.dir=vendor run.steps=1 2>log || code=$?
[ $code -eq 2 ] || fail "the vendor's own in another place is accepted"

# lr = 0: twenty steps, one hash, no mismatch; and the ratio is exactly 1 everywhere.
zerokl train tiny.yaml run.dir=still optimizer.lr=0 run.steps=20 checkpoint.every=0 2>log || { cat log >&2; fail "lr = 0"; }
[ "$(sed -n 's|.*"weights/hash": "\([0-9a-f]*\)".*|\1|p' still/metrics.jsonl | sort -u | wc -l)" -eq 1 ] || fail "lr = 0 moved the weights"
for r in reference still; do
  [ "$(grep -c '"policy/ratio_max": 1[.0]*, ' $r/metrics.jsonl)" -eq $(($(wc -l <$r/metrics.jsonl) - 1)) ] || fail "$r: a ratio that is not 1"
  [ "$(grep -c '"mismatch/tokens": 0, ' $r/metrics.jsonl)" -eq $(($(wc -l <$r/metrics.jsonl) - 1)) ] || fail "$r: mismatches"
done
echo "every fault is caught"
