// Golden cases of attention and its cache: sequences that cross pages, tiles, splits and parts, whole, in chunks and token by token.
#include <math.h>

#include "golden.h"
#include "kernels/attention.h"

enum { MAX_SEQS = 5, MAX_PAGES = 512 };

typedef struct {
  int32_t heads, kv_heads, dim, page_tokens;
} shape;
static const shape shapes[] = {{6, 2, 64, 16}, {3, 1, 80, 48}, {4, 4, 128, 64}, {6, 2, 24, 16}, {2, 1, 40, 32}};
static const int32_t zeros[MAX_SEQS];

// Sequences side by side, and a cache whose pages are handed out in descending order.
typedef struct {
  zk_attention_desc desc;
  int32_t num_seqs, num_rows, max_pages;
  void *q, *k, *v, *out, *k_cache, *v_cache;
  float *lse;
  int32_t *page_table;
} problem;

static int64_t num_q(const problem *p) { return (int64_t)p->desc.num_heads * p->desc.head_dim; }
static int64_t num_kv(const problem *p) { return (int64_t)p->desc.num_kv_heads * p->desc.head_dim; }

// Wide keys and queries have scores up to 2^40 apart: a smaller scale brings them together again.
static zk_status make_problem(golden *g, golden_kind kind, shape s, int num_seqs, const int32_t *lengths, problem *p) {
  const float scale = (1.0f / sqrtf((float)s.dim)) * (kind == GOLDEN_WIDE ? 0x1p-34f : 1.0f);
  *p = (problem){.desc = {g->numerics, s.heads, s.kv_heads, s.dim, s.page_tokens, scale}, .num_seqs = num_seqs};
  for (int i = 0; i < num_seqs; i++) {
    const int32_t pages = (lengths[i] + s.page_tokens - 1) / s.page_tokens;
    p->num_rows += lengths[i];
    if (pages > p->max_pages) p->max_pages = pages;
  }
  const int32_t num_pages = num_seqs * p->max_pages;
  int32_t table[MAX_PAGES];
  if (num_pages >= MAX_PAGES) return ZK_FAIL(ZK_INTERNAL, "golden: a case of %d pages", num_pages);
  for (int32_t i = 0; i < num_pages; i++) table[i] = num_pages - 1 - i;
  ZK_TRY(golden_upload(g, table, (size_t)num_pages * sizeof *table, (void **)&p->page_table));
  ZK_TRY(golden_elements(g, kind, p->num_rows * num_q(p), &p->q));
  ZK_TRY(golden_elements(g, kind, p->num_rows * num_kv(p), &p->k));
  ZK_TRY(golden_elements(g, kind, p->num_rows * num_kv(p), &p->v));
  ZK_TRY(golden_zeros(g, golden_bytes(g, p->num_rows * num_q(p)), &p->out));
  ZK_TRY(golden_zeros(g, (size_t)p->num_rows * (size_t)s.heads * sizeof(float), (void **)&p->lse));
  const size_t cache_bytes = zk_kv_cache_bytes(g->device, &p->desc, num_pages + 1); // one page to spare
  ZK_TRY(golden_zeros(g, cache_bytes, &p->k_cache));
  return golden_zeros(g, cache_bytes, &p->v_cache);
}

// The step that holds rows[i] of each sequence, from first_pos[i] on.
static zk_status make_batch(golden *g, const problem *p, const int32_t *rows, const int32_t *first_pos,
                            zk_attention_batch *batch) {
  int32_t start[MAX_SEQS + 1] = {0}, *start_d, *first_d;
  for (int i = 0; i < p->num_seqs; i++) start[i + 1] = start[i] + rows[i];
  ZK_TRY(golden_upload(g, start, (size_t)(p->num_seqs + 1) * sizeof *start, (void **)&start_d));
  ZK_TRY(golden_upload(g, first_pos, (size_t)p->num_seqs * sizeof *first_pos, (void **)&first_d));
  *batch = (zk_attention_batch){start[p->num_seqs], p->num_seqs, p->max_pages, start_d, first_d, p->page_table, NULL};
  return ZK_OK;
}

static zk_status out_lines(golden *g, const problem *p) {
  ZK_TRY(golden_elements_line(g, "out", p->out, p->num_rows * num_q(p)));
  return golden_floats_line(g, "lse", p->lse, (int64_t)p->num_rows * p->desc.num_heads);
}

static zk_status whole(golden *g, golden_kind kind, shape s, int num_seqs, const int32_t *lengths) {
  problem p;
  zk_attention_batch batch;
  if (!golden_case(g, ZK_OP_ATTENTION, "%d sequences, %d first, heads %d/%d, head_dim %d, pages of %d, %s", num_seqs,
                   lengths[0], s.heads, s.kv_heads, s.dim, s.page_tokens, golden_kind_name(kind)))
    return ZK_OK;
  ZK_TRY(make_problem(g, kind, s, num_seqs, lengths, &p));
  ZK_TRY(make_batch(g, &p, lengths, zeros, &batch));
  ZK_TRY(zk_kv_write(g->stream, &p.desc, &batch, p.k, p.v, p.k_cache, p.v_cache));
  ZK_TRY(zk_attention_forward(g->stream, &p.desc, &batch, p.q, p.k_cache, p.v_cache, p.out, p.lse));
  return out_lines(g, &p);
}

// One sequence, prefilled and then in steps of one size: chunks of a prompt, or (1) decoding. As kv_write's case its first page moves to
// another before the last step, which reads it there.
static zk_status stepwise(golden *g, zk_op op, golden_kind kind, shape s, int32_t length, int32_t first, int32_t step) {
  problem p;
  if (!golden_case(g, op, "%d rows, then steps of %d up to %d, heads %d/%d, head_dim %d, pages of %d, %s", first, step,
                   length, s.heads, s.kv_heads, s.dim, s.page_tokens, golden_kind_name(kind)))
    return ZK_OK;
  ZK_TRY(make_problem(g, kind, s, 1, &length, &p));
  for (int32_t done = 0, rows = first; done < length;
       done += rows, rows = step < length - done ? step : length - done) {
    const size_t at_q = golden_bytes(g, done * num_q(&p)), at_kv = golden_bytes(g, done * num_kv(&p));
    zk_attention_batch batch;
    if (op == ZK_OP_KV_WRITE && done + rows == length) {
      const int32_t spare = p.max_pages;
      ZK_TRY(zk_kv_copy_page(g->stream, &p.desc, p.max_pages - 1, spare, p.k_cache, p.v_cache));
      ZK_TRY(zk_copy_to_device(g->stream, p.page_table, &spare, sizeof spare));
      ZK_TRY(zk_stream_wait(g->stream));
    }
    ZK_TRY(make_batch(g, &p, &rows, &done, &batch));
    ZK_TRY(zk_kv_write(g->stream, &p.desc, &batch, (char *)p.k + at_kv, (char *)p.v + at_kv, p.k_cache, p.v_cache));
    ZK_TRY(zk_attention_forward(g->stream, &p.desc, &batch, (char *)p.q + at_q, p.k_cache, p.v_cache,
                                (char *)p.out + at_q, p.lse + (int64_t)done * s.heads));
  }
  return out_lines(g, &p);
}

static zk_status backward(golden *g, golden_kind kind, shape s, int num_seqs, const int32_t *lengths) {
  problem p;
  zk_attention_batch batch;
  void *dout, *dq, *dk, *dv;
  if (!golden_case(g, ZK_OP_ATTENTION_BACKWARD, "%d sequences, %d first, heads %d/%d, head_dim %d, pages of %d, %s",
                   num_seqs, lengths[0], s.heads, s.kv_heads, s.dim, s.page_tokens, golden_kind_name(kind)))
    return ZK_OK;
  ZK_TRY(make_problem(g, kind, s, num_seqs, lengths, &p));
  ZK_TRY(make_batch(g, &p, lengths, zeros, &batch));
  ZK_TRY(golden_elements(g, kind, p.num_rows * num_q(&p), &dout));
  ZK_TRY(golden_zeros(g, golden_bytes(g, p.num_rows * num_q(&p)), &dq));
  ZK_TRY(golden_zeros(g, golden_bytes(g, p.num_rows * num_kv(&p)), &dk));
  ZK_TRY(golden_zeros(g, golden_bytes(g, p.num_rows * num_kv(&p)), &dv));
  ZK_TRY(zk_kv_write(g->stream, &p.desc, &batch, p.k, p.v, p.k_cache, p.v_cache));
  ZK_TRY(zk_attention_forward(g->stream, &p.desc, &batch, p.q, p.k_cache, p.v_cache, p.out, p.lse));
  ZK_TRY(zk_attention_backward(g->stream, &p.desc, &batch, p.q, p.k_cache, p.v_cache, p.out, dout, p.lse, dq, dk, dv));
  ZK_TRY(golden_elements_line(g, "dq", dq, p.num_rows * num_q(&p)));
  ZK_TRY(golden_elements_line(g, "dk", dk, p.num_rows * num_kv(&p)));
  return golden_elements_line(g, "dv", dv, p.num_rows * num_kv(&p));
}

zk_status golden_attention(golden *g) {
  static const int32_t lengths[MAX_SEQS] = {17, 130, 1, 64, 129}, splits[] = {1100}, parts[] = {4170};
  static const shape narrow = {2, 1, 16, 16}, narrowest = {1, 1, 8, 16};
  for (golden_kind kind = 0; kind < GOLDEN_NUM_KINDS; kind++) {
    ZK_TRY(whole(g, kind, shapes[0], MAX_SEQS, lengths));
    ZK_TRY(stepwise(g, ZK_OP_ATTENTION, kind, shapes[kind], 67, 60, 1));
    ZK_TRY(stepwise(g, ZK_OP_KV_WRITE, kind, shapes[kind], 150, 50, 37));
    ZK_TRY(backward(g, kind, shapes[3], MAX_SEQS, lengths));
  }
  for (int i = 0; i < GOLDEN_NUM(shapes); i++) {
    if (i > 0) ZK_TRY(whole(g, GOLDEN_NORMAL, shapes[i], MAX_SEQS, lengths));
    if (i != 3) ZK_TRY(backward(g, GOLDEN_NORMAL, shapes[i], 3, lengths));
  }
  ZK_TRY(stepwise(g, ZK_OP_ATTENTION, GOLDEN_WIDE, narrow, 1100, 500, 290));
  ZK_TRY(backward(g, GOLDEN_NORMAL, narrow, 1, splits));
  ZK_TRY(whole(g, GOLDEN_NORMAL, narrow, 1, splits));
  return backward(g, GOLDEN_NORMAL, narrowest, 1, parts);
}
