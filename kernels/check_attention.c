// Checks of paged attention: sequences that cross pages, tiles and splits, in one piece, in chunks and token by token;
// its gradients; and the cache itself, read back through rows that attend to a single key.
#include "kernels/attention.h"
#include "kernels/check_case.h"
#include "kernels/math.h"
#include "kernels/reference/attention_reference.h"

#define NUM(a) (int)(sizeof(a) / sizeof((a)[0]))
#define FLOAT_BYTES(n) ((size_t)(n) * sizeof(float))
#define MAX_SEQS 8

typedef struct {
  int32_t heads, kv_heads, dim, page_tokens;
} shape;
static const shape shapes[] = {{3, 1, 32, 16}, {9, 3, 16, 48}, {4, 4, 64, 64}, {8, 2, 40, 32}, {2, 1, 128, 80}};

static zk_attention_desc desc_of(shape s) {
  return (zk_attention_desc){ZK_F32, s.heads, s.kv_heads, s.dim, s.page_tokens, 1.0f / sqrtf((float)s.dim)};
}

static zk_attention_reference reference_of(const zk_attention_desc *d, int32_t rows, int32_t first_pos) {
  return (zk_attention_reference){rows,     first_pos,    d->num_heads,  d->num_kv_heads, d->head_dim,
                                  d->scale, ZK_ATTN_TILE, ZK_ATTN_SPLIT, ZK_ATTN_PART};
}

// Whole sequences side by side: host arrays, their copies on the device, and a cache whose pages are handed out in a
// scattered order.
typedef struct {
  zk_attention_desc desc;
  int32_t num_seqs, num_rows, max_pages;
  int32_t start[MAX_SEQS + 1];
  float *q, *k, *v, *q_d, *k_d, *v_d, *out_d, *lse_d;
  int32_t *table_d;
  void *k_cache, *v_cache;
} problem;

static int64_t q_floats(const problem *p, int64_t rows) { return rows * p->desc.num_heads * p->desc.head_dim; }
static int64_t kv_floats(const problem *p, int64_t rows) { return rows * p->desc.num_kv_heads * p->desc.head_dim; }

static zk_status upload_inputs(zk_check *check, problem *p) {
  ZK_TRY(zk_check_upload(check, p->q, FLOAT_BYTES(q_floats(p, p->num_rows)), (void **)&p->q_d));
  ZK_TRY(zk_check_upload(check, p->k, FLOAT_BYTES(kv_floats(p, p->num_rows)), (void **)&p->k_d));
  return zk_check_upload(check, p->v, FLOAT_BYTES(kv_floats(p, p->num_rows)), (void **)&p->v_d);
}

static zk_status make_problem(zk_check *check, shape s, zk_check_data data, const int32_t *lengths, int num_seqs,
                              problem *p) {
  *p = (problem){.desc = desc_of(s), .num_seqs = num_seqs};
  for (int i = 0; i < num_seqs; i++) {
    const int32_t pages = (lengths[i] + s.page_tokens - 1) / s.page_tokens;
    p->start[i + 1] = p->start[i] + lengths[i];
    p->max_pages = pages > p->max_pages ? pages : p->max_pages;
  }
  p->num_rows = p->start[num_seqs];
  ZK_TRY(zk_check_floats(check, data, q_floats(p, p->num_rows), &p->q));
  ZK_TRY(zk_check_floats(check, data, kv_floats(p, p->num_rows), &p->k));
  ZK_TRY(zk_check_floats(check, data, kv_floats(p, p->num_rows), &p->v));
  ZK_TRY(upload_inputs(check, p));
  ZK_TRY(zk_check_device(check, FLOAT_BYTES(q_floats(p, p->num_rows)), (void **)&p->out_d));
  ZK_TRY(zk_check_device(check, FLOAT_BYTES(p->num_rows * s.heads), (void **)&p->lse_d));
  const int32_t num_pages = num_seqs * p->max_pages;
  int32_t *table;
  ZK_TRY(zk_check_host(check, (size_t)num_pages * sizeof *table, (void **)&table));
  for (int32_t i = 0; i < num_pages; i++)
    table[i] = num_pages - 1 - (i % 2 == 0 ? i / 2 : (num_pages + 1) / 2 + i / 2); // a permutation
  ZK_TRY(zk_check_upload(check, table, (size_t)num_pages * sizeof *table, (void **)&p->table_d));
  const size_t cache_bytes = zk_kv_cache_bytes(check->device, &p->desc, num_pages);
  ZK_TRY(zk_check_device(check, cache_bytes, &p->k_cache));
  return zk_check_device(check, cache_bytes, &p->v_cache);
}

// The rows of sequences [0, num_seqs) that a step holds: rows[i] of them, from first_pos[i] on.
static zk_status make_batch(zk_check *check, const problem *p, int num_seqs, const int32_t *rows,
                            const int32_t *first_pos, zk_attention_batch *batch) {
  int32_t start[MAX_SEQS + 1] = {0}, *start_d, *first_d;
  for (int i = 0; i < num_seqs; i++) start[i + 1] = start[i] + rows[i];
  ZK_TRY(zk_check_upload(check, start, (size_t)(num_seqs + 1) * sizeof *start, (void **)&start_d));
  ZK_TRY(zk_check_upload(check, first_pos, (size_t)num_seqs * sizeof *first_pos, (void **)&first_d));
  *batch = (zk_attention_batch){start[num_seqs], num_seqs, p->max_pages, start_d, first_d, p->table_d};
  return ZK_OK;
}

// One sequence, in steps of the given sizes (the last one repeated), against the reference of the whole.
static zk_status chunked_case(zk_check *check, shape s, zk_check_data data, int32_t length, const int32_t *steps,
                              int num_steps) {
  zk_check_case(check, "one sequence of %d in steps of %d.., heads %d/%d, head_dim %d, pages of %d, %s", length,
                steps[0], s.heads, s.kv_heads, s.dim, s.page_tokens, zk_check_data_name(data));
  problem p;
  float *out, *lse;
  ZK_TRY(make_problem(check, s, data, &length, 1, &p));
  ZK_TRY(zk_check_host(check, FLOAT_BYTES(q_floats(&p, length)), (void **)&out));
  ZK_TRY(zk_check_host(check, FLOAT_BYTES(length * s.heads), (void **)&lse));
  for (int32_t done = 0, step = 0; done < length; step++) {
    const int32_t want = steps[step < num_steps ? step : num_steps - 1],
                  rows = want < length - done ? want : length - done;
    zk_attention_batch batch;
    ZK_TRY(make_batch(check, &p, 1, &rows, &done, &batch));
    ZK_TRY(zk_kv_write(check->helper, &p.desc, &batch, p.k_d + kv_floats(&p, done), p.v_d + kv_floats(&p, done),
                       p.k_cache, p.v_cache));
    ZK_TRY(zk_attention_forward(check->stream, &p.desc, &batch, p.q_d + q_floats(&p, done), p.k_cache, p.v_cache,
                                p.out_d + q_floats(&p, done), p.lse_d + done * s.heads));
    done += rows;
  }
  const zk_attention_reference r = reference_of(&p.desc, length, 0);
  zk_attention_reference_forward(&r, p.q, p.k, p.v, out, lse);
  ZK_TRY(zk_check_compare(check, "out", p.out_d, out, q_floats(&p, length)));
  return zk_check_compare(check, "lse", p.lse_d, lse, (int64_t)length * s.heads);
}

// A long cache, and a batch of single rows at sampled positions that share it.
static zk_status long_case(zk_check *check) {
  static const int32_t sampled[MAX_SEQS] = {0, 63, 511, 512, 4095, 8192, 12345, 16383};
  const int32_t length = 16384;
  const shape s = {2, 1, 32, 64};
  zk_check_case(check, "single rows of a sequence of %d", length);
  problem p;
  ZK_TRY(make_problem(check, s, ZK_CHECK_NORMAL, &length, 1, &p));
  zk_attention_batch all;
  ZK_TRY(make_batch(check, &p, 1, &length, &(int32_t){0}, &all));
  ZK_TRY(zk_kv_write(check->helper, &p.desc, &all, p.k_d, p.v_d, p.k_cache, p.v_cache));
  for (int i = 0; i < MAX_SEQS; i++) {
    const int32_t pos = sampled[i], one = 1;
    zk_attention_batch batch;
    float out[2 * 32], lse[2];
    ZK_TRY(make_batch(check, &p, 1, &one, &pos, &batch));
    ZK_TRY(zk_attention_forward(check->stream, &p.desc, &batch, p.q_d + q_floats(&p, pos), p.k_cache, p.v_cache,
                                p.out_d, p.lse_d));
    const zk_attention_reference r = reference_of(&p.desc, 1, pos);
    zk_attention_reference_forward(&r, p.q + q_floats(&p, pos), p.k, p.v, out, lse);
    ZK_TRY(zk_check_compare(check, "out", p.out_d, out, 2 * 32));
    ZK_TRY(zk_check_compare(check, "lse", p.lse_d, lse, 2));
  }
  return ZK_OK;
}

zk_status zk_check_attention(zk_check *check) {
  static const int32_t whole[] = {1 << 20}, chunks[] = {100, 1, 30, 410, 7}, by_token[] = {60, 1};
  for (int data = 0; data < ZK_CHECK_NUM_DATA; data++)
    for (int i = 0; i < (check->quick ? 1 : NUM(shapes)); i++) {
      ZK_TRY(chunked_case(check, shapes[i], data, 131, whole, 1));
      ZK_TRY(chunked_case(check, shapes[i], data, 66, by_token, 2));
      if (!check->quick) ZK_TRY(chunked_case(check, shapes[i], data, 561, chunks, NUM(chunks)));
    }
  ZK_TRY(chunked_case(check, shapes[0], ZK_CHECK_NORMAL, 513, whole, 1));
  return check->quick ? ZK_OK : long_case(check);
}

static zk_status backward_case(zk_check *check, shape s, zk_check_data data, const int32_t *lengths, int num_seqs) {
  zk_check_case(check, "%d sequences, %d first, heads %d/%d, head_dim %d, pages of %d, %s", num_seqs, lengths[0],
                s.heads, s.kv_heads, s.dim, s.page_tokens, zk_check_data_name(data));
  static const int32_t zeros[MAX_SEQS];
  problem p;
  zk_attention_batch batch;
  ZK_TRY(make_problem(check, s, data, lengths, num_seqs, &p));
  ZK_TRY(make_batch(check, &p, num_seqs, lengths, zeros, &batch));
  const int64_t num_q = q_floats(&p, p.num_rows), num_kv = kv_floats(&p, p.num_rows);
  float *dout, *out, *lse, *dq, *dk, *dv, *dout_d, *dq_d, *dk_d, *dv_d;
  ZK_TRY(zk_check_floats(check, data, num_q, &dout));
  ZK_TRY(zk_check_host(check, FLOAT_BYTES(num_q), (void **)&out));
  ZK_TRY(zk_check_host(check, FLOAT_BYTES(p.num_rows * s.heads), (void **)&lse));
  ZK_TRY(zk_check_host(check, FLOAT_BYTES(num_q), (void **)&dq));
  ZK_TRY(zk_check_host(check, FLOAT_BYTES(num_kv), (void **)&dk));
  ZK_TRY(zk_check_host(check, FLOAT_BYTES(num_kv), (void **)&dv));
  for (int i = 0; i < num_seqs; i++) {
    const zk_attention_reference r = reference_of(&p.desc, lengths[i], 0);
    const int64_t at_q = q_floats(&p, p.start[i]), at_kv = kv_floats(&p, p.start[i]),
                  at_lse = (int64_t)p.start[i] * s.heads;
    zk_attention_reference_forward(&r, p.q + at_q, p.k + at_kv, p.v + at_kv, out + at_q, lse + at_lse);
    zk_attention_reference_backward(&r, p.q + at_q, p.k + at_kv, p.v + at_kv, out + at_q, dout + at_q, lse + at_lse,
                                    dq + at_q, dk + at_kv, dv + at_kv);
  }
  ZK_TRY(zk_check_upload(check, dout, FLOAT_BYTES(num_q), (void **)&dout_d));
  ZK_TRY(zk_check_device(check, FLOAT_BYTES(num_q), (void **)&dq_d));
  ZK_TRY(zk_check_device(check, FLOAT_BYTES(num_kv), (void **)&dk_d));
  ZK_TRY(zk_check_device(check, FLOAT_BYTES(num_kv), (void **)&dv_d));
  ZK_TRY(zk_copy_to_device(check->stream, p.out_d, out, FLOAT_BYTES(num_q)));
  ZK_TRY(zk_copy_to_device(check->stream, p.lse_d, lse, FLOAT_BYTES(p.num_rows * s.heads)));
  ZK_TRY(zk_kv_write(check->helper, &p.desc, &batch, p.k_d, p.v_d, p.k_cache, p.v_cache));
  ZK_TRY(zk_attention_backward(check->stream, &p.desc, &batch, p.q_d, p.k_cache, p.v_cache, p.out_d, dout_d, p.lse_d,
                               dq_d, dk_d, dv_d));
  ZK_TRY(zk_check_compare(check, "dq", dq_d, dq, num_q));
  ZK_TRY(zk_check_compare(check, "dk", dk_d, dk, num_kv));
  return zk_check_compare(check, "dv", dv_d, dv, num_kv);
}

zk_status zk_check_attention_backward(zk_check *check) {
  static const int32_t lengths[] = {65, 1, 130, 64}, longest[] = {4100};
  for (int data = 0; data < ZK_CHECK_NUM_DATA; data++) {
    if (data == ZK_CHECK_LARGE) continue; // products of five such values overflow
    for (int i = 0; i < (check->quick ? 1 : NUM(shapes)); i++)
      ZK_TRY(backward_case(check, shapes[i], data, lengths, NUM(lengths)));
  }
  return check->quick ? ZK_OK : backward_case(check, (shape){1, 1, 8, 64}, ZK_CHECK_NORMAL, longest, 1);
}

// Keys grow by 1,000 a position in every element, and the query at position p is 1 in element p % D alone: the other
// keys' weights are exactly 0, so out is that position's v, and lse is its k[p % D].
zk_status zk_check_kv_write(zk_check *check) {
  static const int32_t lengths[] = {150, 1, 33};
  for (int i = 0; i < (check->quick ? 1 : NUM(shapes)); i++) {
    const shape s = {shapes[i].kv_heads, shapes[i].kv_heads, shapes[i].dim, shapes[i].page_tokens};
    zk_check_case(check, "KV heads %d, head_dim %d, pages of %d", s.kv_heads, s.dim, s.page_tokens);
    static const int32_t zeros[MAX_SEQS];
    problem p;
    zk_attention_batch batch;
    float *k_seen;
    ZK_TRY(make_problem(check, s, ZK_CHECK_NORMAL, lengths, NUM(lengths), &p));
    ZK_TRY(zk_check_host(check, FLOAT_BYTES(p.num_rows * s.heads), (void **)&k_seen));
    p.desc.scale = 1.0f;
    for (int seq = 0; seq < NUM(lengths); seq++)
      for (int32_t pos = 0; pos < lengths[seq]; pos++)
        for (int32_t h = 0; h < s.heads; h++)
          for (int32_t d = 0; d < s.dim; d++) {
            const int64_t row = (int64_t)(p.start[seq] + pos) * s.heads + h, at = row * s.dim + d;
            p.k[at] += 1000.0f * (float)(pos + 1);
            p.q[at] = d == pos % s.dim ? 1.0f : 0.0f;
            if (d == pos % s.dim) k_seen[row] = p.k[at];
          }
    ZK_TRY(upload_inputs(check, &p));
    ZK_TRY(make_batch(check, &p, NUM(lengths), lengths, zeros, &batch));
    ZK_TRY(zk_kv_write(check->stream, &p.desc, &batch, p.k_d, p.v_d, p.k_cache, p.v_cache));
    ZK_TRY(zk_attention_forward(check->helper, &p.desc, &batch, p.q_d, p.k_cache, p.v_cache, p.out_d, p.lse_d));
    ZK_TRY(zk_check_compare(check, "v", p.out_d, p.v, kv_floats(&p, p.num_rows)));
    ZK_TRY(zk_check_compare(check, "k", p.lse_d, k_seen, (int64_t)p.num_rows * s.heads));
  }
  return ZK_OK;
}
