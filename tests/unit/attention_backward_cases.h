// Attention backward test cases: several whole sequences in one batch, the reference's gradients beside the kernels'.
#ifndef ZK_TESTS_ATTENTION_BACKWARD_CASES_H
#define ZK_TESTS_ATTENTION_BACKWARD_CASES_H

#include "tests/unit/attention_cases.h"

// Gradients of one sequence: dout[len,Hq,D], dq[len,Hq,D], dk, dv[len,Hkv,D].
typedef struct {
  float *dout, *dq, *dk, *dv;
} gradients;

static gradients make_gradients(const zk_attention_reference *r, const sequence *s) {
  const size_t nq = (size_t)(s->len * r->num_heads * r->head_dim), nkv = (size_t)(s->len * r->num_kv_heads * r->head_dim);
  gradients g = {random_floats(nq), zero_floats(nq), zero_floats(nkv), zero_floats(nkv)};
  zk_attention_reference_backward(r, s->q, s->k, s->v, s->out, g.dout, s->lse, g.dq, g.dk, g.dv);
  return g;
}

static void free_gradients(gradients *g) {
  free(g->dout), free(g->dq), free(g->dk), free(g->dv);
}

// Writes the sequences to a paged cache in one batch and runs the backward pass. Returns values of dq, dk, dv that differ.
static size_t play_backward(const zk_attention_desc *d, const sequence *seqs, const gradients *grads, int32_t num_seqs, zk_cpu_isa isa,
                            int threads) {
  const size_t q_row = (size_t)(d->num_heads * d->head_dim), kv_row = (size_t)(d->num_kv_heads * d->head_dim), heads = (size_t)d->num_heads;
  int32_t start[65] = {0}, first_pos[64] = {0}, longest = 0;
  for (int32_t i = 0; i < num_seqs; ++i) {
    start[i + 1] = start[i] + seqs[i].len;
    longest = seqs[i].len > longest ? seqs[i].len : longest;
  }
  const size_t rows = (size_t)start[num_seqs];
  float *q = zero_floats(rows * q_row), *k = zero_floats(rows * kv_row), *v = zero_floats(rows * kv_row), *out = zero_floats(rows * q_row);
  float *dout = zero_floats(rows * q_row), *lse = zero_floats(rows * heads);
  float *dq = random_floats(rows * q_row), *dk = random_floats(rows * kv_row), *dv = random_floats(rows * kv_row);
  for (int32_t i = 0; i < num_seqs; ++i) {
    const size_t at = (size_t)start[i], len = (size_t)seqs[i].len;
    memcpy(q + at * q_row, seqs[i].q, len * q_row * sizeof(float));
    memcpy(k + at * kv_row, seqs[i].k, len * kv_row * sizeof(float));
    memcpy(v + at * kv_row, seqs[i].v, len * kv_row * sizeof(float));
    memcpy(out + at * q_row, seqs[i].out, len * q_row * sizeof(float));
    memcpy(dout + at * q_row, grads[i].dout, len * q_row * sizeof(float));
    memcpy(lse + at * heads, seqs[i].lse, len * heads * sizeof(float));
  }
  player p = make_player(d, num_seqs, longest, isa, threads);
  const zk_attention_batch batch = {start[num_seqs], num_seqs, p.max_pages, start, first_pos, p.page_table, NULL};
  assert_int_equal(zk_kv_write(p.stream, d, &batch, k, v, p.k_cache, p.v_cache), ZK_OK);
  assert_int_equal(zk_attention_backward(p.stream, d, &batch, q, p.k_cache, p.v_cache, out, dout, lse, dq, dk, dv), ZK_OK);
  size_t bad = 0;
  for (int32_t i = 0; i < num_seqs; ++i) {
    const size_t at = (size_t)start[i], len = (size_t)seqs[i].len;
    bad += differing(dq + at * q_row, grads[i].dq, len * q_row);
    bad += differing(dk + at * kv_row, grads[i].dk, len * kv_row);
    bad += differing(dv + at * kv_row, grads[i].dv, len * kv_row);
  }
  free_player(&p);
  free(q), free(k), free(v), free(out), free(dout), free(lse), free(dq), free(dk), free(dv);
  return bad;
}

#endif
