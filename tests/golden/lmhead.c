// Golden cases of the LM head: every kind of distribution, Gumbel noise, vocabularies that end inside and at a tile and past a part.
#include "golden.h"
#include "kernels/linear.h"
#include "kernels/lmhead.h"

#define FLOAT_BYTES(n) ((size_t)(n) * sizeof(float))

typedef struct {
  int64_t rows;
  int32_t hidden, vocab;
} shape;
static const shape shapes[] = {{5, 96, 300}, {17, 65, 1000}, {2, 17, 4200}, {33, 40, 129}, {3, 64, 128}, {70, 7, 1}};

typedef struct {
  double temperature, top_p;
  int32_t top_k;
} distribution;
static const distribution distributions[] = {{1.0, 1.0, 0},  {0.7, 1.0, 0}, {0.0, 1.0, 0},
                                             {1.0, 1.0, 10}, {1.0, 0.9, 0}, {0.8, 0.95, 50}};

// A case's inputs and what the forward gives.
typedef struct {
  zk_lmhead_desc desc;
  void *x, *weight, *packed;
  int32_t *target;
  zk_lmhead_out out;
} problem;

static zk_status make_out(golden *g, int64_t rows, zk_lmhead_out *out) {
  ZK_TRY(golden_zeros(g, FLOAT_BYTES(rows), (void **)&out->logprob));
  ZK_TRY(golden_zeros(g, FLOAT_BYTES(rows), (void **)&out->lse));
  ZK_TRY(golden_zeros(g, FLOAT_BYTES(rows), (void **)&out->entropy));
  ZK_TRY(golden_zeros(g, FLOAT_BYTES(rows), (void **)&out->kept_logit));
  ZK_TRY(golden_zeros(g, FLOAT_BYTES(rows), (void **)&out->kept_id));
  return golden_zeros(g, (size_t)rows * sizeof(uint64_t), (void **)&out->logits_hash);
}

// Begins a case; p->x is NULL when its operation is not wanted. Weights are mostly zeros, so that softmax is no single spike.
static zk_status make_problem(golden *g, zk_op op, golden_kind kind, shape s, distribution d, problem *p) {
  *p = (problem){.desc = {g->numerics, s.rows, s.hidden, s.vocab, d.temperature, d.top_k, d.top_p}};
  if (!golden_case(g, op, "rows %lld, hidden %d, vocabulary %d, temperature %g, top_k %d, top_p %g, %s",
                   (long long)s.rows, s.hidden, s.vocab, d.temperature, d.top_k, d.top_p, golden_kind_name(kind)))
    return ZK_OK;
  ZK_TRY(golden_elements(g, kind, s.rows * s.hidden, &p->x));
  ZK_TRY(golden_elements(g, GOLDEN_ZEROS, (int64_t)s.hidden * s.vocab, &p->weight));
  ZK_TRY(golden_integers(g, s.vocab, s.rows, &p->target));
  ZK_TRY(make_out(g, s.rows, &p->out));
  const size_t packed_bytes = zk_linear_packed_bytes(g->device, g->numerics, s.hidden, s.vocab);
  if (packed_bytes == 0) return ZK_OK;
  const zk_linear_desc linear = {g->numerics, s.rows, s.hidden, s.vocab};
  ZK_TRY(golden_zeros(g, packed_bytes, &p->packed));
  return zk_linear_pack(g->stream, &linear, p->weight, p->packed);
}

static zk_status out_lines(golden *g, const problem *p) {
  const int64_t rows = p->desc.num_rows;
  ZK_TRY(golden_floats_line(g, "logprob", p->out.logprob, rows));
  ZK_TRY(golden_floats_line(g, "lse", p->out.lse, rows));
  ZK_TRY(golden_floats_line(g, "entropy", p->out.entropy, rows));
  if (p->desc.top_k > 0 || p->desc.top_p < 1.0) {
    ZK_TRY(golden_floats_line(g, "kept_logit", p->out.kept_logit, rows));
    ZK_TRY(golden_integers_line(g, "kept_id", p->out.kept_id, rows));
  }
  return golden_u64_line(g, "logits_hash", p->out.logits_hash, rows);
}

static zk_status logprob(golden *g, golden_kind kind, shape s, distribution d) {
  problem p;
  ZK_TRY(make_problem(g, ZK_OP_LMHEAD_LOGPROB, kind, s, d, &p));
  if (p.x == NULL) return ZK_OK;
  ZK_TRY(zk_lmhead_logprob(g->stream, &p.desc, p.x, p.weight, p.packed, p.target, &p.out));
  return out_lines(g, &p);
}

static zk_status sample(golden *g, golden_kind kind, shape s, distribution d) {
  problem p;
  int32_t *step, *prompt, *number, *position, *token;
  ZK_TRY(make_problem(g, ZK_OP_LMHEAD_SAMPLE, kind, s, d, &p));
  if (p.x == NULL) return ZK_OK;
  ZK_TRY(golden_integers(g, 1 << 20, s.rows, &step));
  ZK_TRY(golden_integers(g, 1 << 30, s.rows, &prompt));
  ZK_TRY(golden_integers(g, 1 << 12, s.rows, &number));
  ZK_TRY(golden_integers(g, 1 << 16, s.rows, &position));
  ZK_TRY(golden_zeros(g, (size_t)s.rows * sizeof *token, (void **)&token));
  const zk_sample_ids ids = {g->seed, (const uint32_t *)step, (const uint32_t *)prompt, (const uint32_t *)number,
                             (const uint32_t *)position};
  ZK_TRY(zk_lmhead_sample(g->stream, &p.desc, &ids, p.x, p.weight, p.packed, token, &p.out));
  ZK_TRY(golden_integers_line(g, "token", token, s.rows));
  return out_lines(g, &p);
}

static zk_status backward(golden *g, golden_kind kind, shape s, distribution d) {
  problem p;
  void *dx;
  float *dlogprob, *dweight;
  const int32_t starts[] = {0, (int32_t)(s.rows / 2), (int32_t)s.rows};
  const zk_chunks chunks = {2, starts};
  ZK_TRY(make_problem(g, ZK_OP_LMHEAD_BACKWARD, kind, s, d, &p));
  if (p.x == NULL) return ZK_OK;
  ZK_TRY(golden_floats(g, GOLDEN_NORMAL, s.rows, &dlogprob));
  ZK_TRY(golden_floats(g, GOLDEN_NORMAL, (int64_t)s.hidden * s.vocab, &dweight));
  ZK_TRY(golden_zeros(g, golden_bytes(g, s.rows * s.hidden), &dx));
  ZK_TRY(zk_lmhead_logprob(g->stream, &p.desc, p.x, p.weight, p.packed, p.target, &p.out));
  ZK_TRY(zk_lmhead_backward(g->stream, &p.desc, &chunks, p.x, p.weight, p.packed, p.target, &p.out, dlogprob, NULL, dx,
                            dweight));
  ZK_TRY(golden_elements_line(g, "dx", dx, s.rows * s.hidden));
  return golden_floats_line(g, "dweight", dweight, (int64_t)s.hidden * s.vocab);
}

static zk_status all(golden *g, golden_kind kind, shape s, distribution d) {
  ZK_TRY(logprob(g, kind, s, d));
  ZK_TRY(sample(g, kind, s, d));
  return backward(g, kind, s, d);
}

zk_status golden_lmhead(golden *g) {
  for (int i = 0; i < GOLDEN_NUM(distributions); i++) {
    for (golden_kind kind = 0; kind < GOLDEN_NUM_KINDS; kind++)
      if ((kind + i) % 2 == 0) ZK_TRY(all(g, kind, shapes[0], distributions[i]));
    for (int j = 1; j < GOLDEN_NUM(shapes); j++)
      if ((i + j) % 3 == 0) ZK_TRY(all(g, GOLDEN_NORMAL, shapes[j], distributions[i]));
  }
  return ZK_OK;
}
