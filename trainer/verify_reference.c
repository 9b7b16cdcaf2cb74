// The reference model's log-probabilities again, by the same forward pass in other microbatches.
#include <inttypes.h>
#include <stdlib.h>

#include "kernels/math.h"
#include "trainer/verify_impl.h"

static void compare(zk_auditor *a, const zk_verify_step *s) {
  const zk_trajectory *t = &s->stored;
  zk_verify_count(a->once, ZK_VERIFY_REFERENCE, t->num_sample_tokens);
  for (int64_t i = 0; i < t->num_samples; i++)
    for (int64_t k = t->sample_offsets[i]; k < t->sample_offsets[i + 1]; k++) {
      const float stored = t->reference_logprob[k], mine = s->reference[k];
      if (zk_float_bits(stored) != zk_float_bits(mine))
        zk_verify_differ(a->once, ZK_VERIFY_REFERENCE, i, k - t->sample_offsets[i],
                         "%s, position %" PRId64 ": reference_logprob %.9g (0x%08x) is stored, the reference model gives %.9g (0x%08x)",
                         zk_verify_place_of(s, i).s, k - t->sample_offsets[i], (double)stored, zk_float_bits(stored), (double)mine, zk_float_bits(mine));
    }
}

// Without a reference model the column is zeros, and left out of the file.
static void require_none(zk_auditor *a, const zk_verify_step *s) {
  const zk_trajectory *t = &s->stored;
  for (int64_t i = 0; i < t->num_samples; i++)
    for (int64_t k = t->sample_offsets[i]; k < t->sample_offsets[i + 1]; k++)
      if (zk_float_bits(t->reference_logprob[k])) {
        zk_verify_count(a->once, ZK_VERIFY_REFERENCE, 1);
        zk_verify_differ(a->once, ZK_VERIFY_REFERENCE, i, k - t->sample_offsets[i],
                         "%s, position %" PRId64 ": reference_logprob %.9g is stored, and the run has no reference model (algorithm.kl.coef: 0)",
                         zk_verify_place_of(s, i).s, k - t->sample_offsets[i], (double)t->reference_logprob[k]);
        return;
      }
}

zk_status zk_verify_reference(zk_auditor *a, zk_verify_step *s) {
  if (a->session.config.algorithm.kl.coef == 0) require_none(a, s);
  if (!a->reference) return ZK_OK;
  zk_sequences seqs;
  ZK_TRY(zk_comm_agree(a->comm, zk_sequences_from_trajectory(&s->t, &seqs)));
  s->reference = calloc((size_t)s->t.num_sample_tokens + 1, sizeof *s->reference);
  zk_status st = s->reference ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %" PRId64 " tokens", s->t.num_sample_tokens);
  st = zk_comm_agree(a->comm, st);
  if (st == ZK_OK) st = zk_turns_to(&a->turns, ZK_SIDE_TRAINER, ZK_OK);
  if (st == ZK_OK) st = zk_reference_logprobs(a->reference, &seqs, s->reference);
  if (st == ZK_OK) compare(a, s);
  if (st == ZK_OK) s->t.reference_logprob = s->reference;
  zk_sequences_free(&seqs);
  return st;
}
