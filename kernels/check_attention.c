// Checks of paged attention: sequences that cross pages, tiles and splits, in one piece, in chunks and token by token;
// its gradients; and the cache itself, read back through rows that attend to a single key.
#include "kernels/attention.h"

#include <stdbool.h>
#include <string.h>

#include "kernels/check_case.h"
#include "kernels/math.h"
#include "kernels/reference/attention_reference.h"

#define NUM(a) (int)(sizeof(a) / sizeof((a)[0]))
#define FLOAT_BYTES(n) ((size_t)(n) * sizeof(float))
#define MAX_SEQS 8

typedef struct {
  int32_t heads, kv_heads, dim, page_tokens;
} shape;
static const shape shapes[] = {{3, 1, 32, 16},  {9, 3, 16, 48}, {4, 4, 64, 64}, {8, 2, 40, 32},
                               {2, 1, 128, 80}, {2, 1, 80, 16}, {1, 1, 96, 128}, {1, 1, 256, 32}, {12, 2, 128, 16}};

// With bf16, scores of wide and large data would be further apart than its exponential tells; a smaller scale brings them together.
static float scale_of(const zk_check *check, int32_t dim, zk_check_data data) {
  const float scale = 1.0f / sqrtf((float)dim);
  if (check->numerics == ZK_F32) return scale;
  return data == ZK_CHECK_WIDE ? scale * 0x1p-80f : data == ZK_CHECK_LARGE ? scale * 0x1p-94f : scale;
}

static zk_attention_desc desc_of(const zk_check *check, shape s, zk_check_data data) {
  return (zk_attention_desc){check->numerics, s.heads, s.kv_heads, s.dim, s.page_tokens, scale_of(check, s.dim, data)};
}

// Whole sequences side by side: host arrays of elements as the numerics store them, their copies on the device, and a dirty cache
// whose pages are handed out in a scattered order.
typedef struct {
  zk_attention_desc desc;
  int32_t num_seqs, num_rows, max_pages;
  int32_t start[MAX_SEQS + 1];
  char *q, *k, *v, *q_d, *k_d, *v_d, *out_d;
  float *lse_d;
  int32_t *table_d;
  void *k_cache, *v_cache;
} problem;

static int64_t num_q(const problem *p, int64_t rows) { return rows * p->desc.num_heads * p->desc.head_dim; }
static int64_t num_kv(const problem *p, int64_t rows) { return rows * p->desc.num_kv_heads * p->desc.head_dim; }
static size_t q_bytes(const problem *p, int64_t rows) {
  return (size_t)num_q(p, rows) * zk_numerics_bytes(p->desc.numerics);
}
static size_t kv_bytes(const problem *p, int64_t rows) {
  return (size_t)num_kv(p, rows) * zk_numerics_bytes(p->desc.numerics);
}

static zk_status draw(zk_check *check, zk_check_data data, int64_t n, char **out) {
  if (check->numerics == ZK_F32) return zk_check_floats(check, data, n, (float **)out);
  return zk_check_bf16(check, data, n, (zk_bf16 **)out);
}

static zk_status compare(zk_check *check, const char *what, const void *device_got, const void *want, int64_t n) {
  if (check->numerics == ZK_F32) return zk_check_compare(check, what, device_got, want, n);
  return zk_check_compare_bf16(check, what, device_got, want, n);
}

// The reference's order, and its answers to `rows` query rows of one sequence.
static zk_attention_reference reference_of(const zk_attention_desc *d, int32_t rows, int32_t first_pos) {
  const bool f32 = d->numerics == ZK_F32;
  return (zk_attention_reference){rows,
                                  first_pos,
                                  d->num_heads,
                                  d->num_kv_heads,
                                  d->head_dim,
                                  d->scale,
                                  f32 ? ZK_ATTN_TILE : ZK_ATTN_TILE_BF16,
                                  f32 ? ZK_ATTN_SPLIT : ZK_ATTN_SPLIT_BF16,
                                  ZK_ATTN_PART};
}

static void reference_forward(const zk_attention_desc *d, int32_t rows, int32_t first_pos, const void *q, const void *k,
                              const void *v, void *out, float *lse) {
  const zk_attention_reference r = reference_of(d, rows, first_pos);
  if (d->numerics == ZK_F32) zk_attention_reference_forward(&r, q, k, v, out, lse);
  else zk_attention_reference_bf16_forward(&r, q, k, v, out, lse);
}

static void reference_backward(const zk_attention_desc *d, int32_t rows, const void *q, const void *k, const void *v,
                               const void *out, const void *dout, const float *lse, void *dq, void *dk, void *dv) {
  const zk_attention_reference r = reference_of(d, rows, 0);
  if (d->numerics == ZK_F32) zk_attention_reference_backward(&r, q, k, v, out, dout, lse, dq, dk, dv);
  else zk_attention_reference_bf16_backward(&r, q, k, v, out, dout, lse, dq, dk, dv);
}

static zk_status upload_inputs(zk_check *check, problem *p) {
  ZK_TRY(zk_check_upload(check, p->q, q_bytes(p, p->num_rows), (void **)&p->q_d));
  ZK_TRY(zk_check_upload(check, p->k, kv_bytes(p, p->num_rows), (void **)&p->k_d));
  return zk_check_upload(check, p->v, kv_bytes(p, p->num_rows), (void **)&p->v_d);
}

// Every element NaN until it is written.
static zk_status make_caches(zk_check *check, problem *p, int32_t num_pages) {
  const size_t bytes = zk_kv_cache_bytes(check->device, &p->desc, num_pages);
  void *dirt;
  ZK_TRY(zk_check_host(check, bytes, &dirt));
  memset(dirt, 0xff, bytes);
  ZK_TRY(zk_check_upload(check, dirt, bytes, &p->k_cache));
  return zk_check_upload(check, dirt, bytes, &p->v_cache);
}

static zk_status make_problem(zk_check *check, shape s, zk_check_data data, const int32_t *lengths, int num_seqs,
                              problem *p) {
  *p = (problem){.desc = desc_of(check, s, data), .num_seqs = num_seqs};
  for (int i = 0; i < num_seqs; i++) {
    const int32_t pages = (lengths[i] + s.page_tokens - 1) / s.page_tokens;
    p->start[i + 1] = p->start[i] + lengths[i];
    p->max_pages = pages > p->max_pages ? pages : p->max_pages;
  }
  p->num_rows = p->start[num_seqs];
  ZK_TRY(draw(check, data, num_q(p, p->num_rows), &p->q));
  ZK_TRY(draw(check, data, num_kv(p, p->num_rows), &p->k));
  ZK_TRY(draw(check, data, num_kv(p, p->num_rows), &p->v));
  ZK_TRY(upload_inputs(check, p));
  ZK_TRY(zk_check_device(check, q_bytes(p, p->num_rows), (void **)&p->out_d));
  ZK_TRY(zk_check_device(check, FLOAT_BYTES(p->num_rows * s.heads), (void **)&p->lse_d));
  const int32_t num_pages = num_seqs * p->max_pages;
  int32_t *table;
  ZK_TRY(zk_check_host(check, (size_t)num_pages * sizeof *table, (void **)&table));
  for (int32_t i = 0; i < num_pages; i++)
    table[i] = num_pages - 1 - (i % 2 == 0 ? i / 2 : (num_pages + 1) / 2 + i / 2); // a permutation
  ZK_TRY(zk_check_upload(check, table, (size_t)num_pages * sizeof *table, (void **)&p->table_d));
  return make_caches(check, p, num_pages);
}

// The rows of sequences [0, num_seqs) that a step holds: rows[i] of them, from first_pos[i] on.
static zk_status make_batch(zk_check *check, const problem *p, int num_seqs, const int32_t *rows,
                            const int32_t *first_pos, zk_attention_batch *batch) {
  int32_t start[MAX_SEQS + 1] = {0}, *start_d, *first_d;
  for (int i = 0; i < num_seqs; i++) start[i + 1] = start[i] + rows[i];
  ZK_TRY(zk_check_upload(check, start, (size_t)(num_seqs + 1) * sizeof *start, (void **)&start_d));
  ZK_TRY(zk_check_upload(check, first_pos, (size_t)num_seqs * sizeof *first_pos, (void **)&first_d));
  *batch = (zk_attention_batch){start[num_seqs], num_seqs, p->max_pages, start_d, first_d, p->table_d, NULL};
  return ZK_OK;
}

// One sequence, in steps of the given sizes (the last one repeated), against the reference of the whole.
static zk_status chunked_case(zk_check *check, shape s, zk_check_data data, int32_t length, const int32_t *steps,
                              int num_steps) {
  zk_check_case(check, "one sequence of %d in steps of %d.., heads %d/%d, head_dim %d, pages of %d, %s", length,
                steps[0], s.heads, s.kv_heads, s.dim, s.page_tokens, zk_check_data_name(data));
  problem p;
  void *out;
  float *lse;
  ZK_TRY(make_problem(check, s, data, &length, 1, &p));
  ZK_TRY(zk_check_host(check, q_bytes(&p, length), &out));
  ZK_TRY(zk_check_host(check, FLOAT_BYTES(length * s.heads), (void **)&lse));
  for (int32_t done = 0, step = 0; done < length; step++) {
    const int32_t want = steps[step < num_steps ? step : num_steps - 1],
                  rows = want < length - done ? want : length - done;
    zk_attention_batch batch;
    ZK_TRY(make_batch(check, &p, 1, &rows, &done, &batch));
    ZK_TRY(zk_kv_write(check->helper, &p.desc, &batch, p.k_d + kv_bytes(&p, done), p.v_d + kv_bytes(&p, done),
                       p.k_cache, p.v_cache));
    ZK_TRY(zk_stream_wait(check->helper));
    ZK_TRY(zk_attention_forward(check->stream, &p.desc, &batch, p.q_d + q_bytes(&p, done), p.k_cache, p.v_cache,
                                p.out_d + q_bytes(&p, done), p.lse_d + done * s.heads));
    done += rows;
  }
  reference_forward(&p.desc, length, 0, p.q, p.k, p.v, out, lse);
  ZK_TRY(compare(check, "out", p.out_d, out, num_q(&p, length)));
  return zk_check_compare(check, "lse", p.lse_d, lse, (int64_t)length * s.heads);
}

// Sequences of several lengths, whole, in one batch: each must have what it has alone. The cache is written on one stream, read on another.
static zk_status batch_case(zk_check *check, zk_stream *write, zk_stream *read, float sharpness, shape s,
                            zk_check_data data, const int32_t *lengths, int num_seqs) {
  zk_check_case(check, "%d sequences, %d first, heads %d/%d, head_dim %d, pages of %d, %s", num_seqs, lengths[0],
                s.heads, s.kv_heads, s.dim, s.page_tokens, zk_check_data_name(data));
  static const int32_t zeros[MAX_SEQS];
  problem p;
  zk_attention_batch batch;
  char *out;
  float *lse;
  ZK_TRY(make_problem(check, s, data, lengths, num_seqs, &p));
  p.desc.scale *= sharpness;
  ZK_TRY(make_batch(check, &p, num_seqs, lengths, zeros, &batch));
  ZK_TRY(zk_check_host(check, q_bytes(&p, p.num_rows), (void **)&out));
  ZK_TRY(zk_check_host(check, FLOAT_BYTES(p.num_rows * s.heads), (void **)&lse));
  ZK_TRY(zk_kv_write(write, &p.desc, &batch, p.k_d, p.v_d, p.k_cache, p.v_cache));
  ZK_TRY(zk_stream_wait(write));
  ZK_TRY(zk_attention_forward(read, &p.desc, &batch, p.q_d, p.k_cache, p.v_cache, p.out_d, p.lse_d));
  ZK_TRY(zk_stream_wait(read));
  for (int i = 0; i < num_seqs; i++) {
    const size_t at_q = q_bytes(&p, p.start[i]), at_kv = kv_bytes(&p, p.start[i]);
    reference_forward(&p.desc, lengths[i], 0, p.q + at_q, p.k + at_kv, p.v + at_kv, out + at_q,
                      lse + (int64_t)p.start[i] * s.heads);
  }
  ZK_TRY(compare(check, "out", p.out_d, out, num_q(&p, p.num_rows)));
  return zk_check_compare(check, "lse", p.lse_d, lse, (int64_t)p.num_rows * s.heads);
}

// Single rows of sequences that begin with the same pages: what a kernel is told of that changes no bit.
static zk_status shared_case(zk_check *check) {
  static const int32_t lengths[] = {1100, 1030, 1024, 1290, 700, 1090, 1100, 520}, shared[] = {0, 32, 32, 20, 21, 0, 34, 16};
  enum { SEQS = NUM(lengths) };
  const shape s = {8, 2, 64, 32};
  zk_check_case(check, "%d sequences that share their first pages, %d of them at most", SEQS, 34);
  static const int32_t zeros[MAX_SEQS], ones[] = {1, 1, 1, 1, 1, 1, 1, 1};
  int32_t last[SEQS], *table;
  problem p;
  zk_attention_batch all, batch;
  ZK_TRY(make_problem(check, s, ZK_CHECK_NORMAL, lengths, SEQS, &p));
  ZK_TRY(make_batch(check, &p, SEQS, lengths, zeros, &all));
  ZK_TRY(zk_kv_write(check->helper, &p.desc, &all, p.k_d, p.v_d, p.k_cache, p.v_cache));
  const size_t table_bytes = (size_t)(SEQS * p.max_pages) * sizeof *table;
  ZK_TRY(zk_check_host(check, table_bytes, (void **)&table));
  ZK_TRY(zk_copy_to_host(check->helper, table, p.table_d, table_bytes));
  ZK_TRY(zk_stream_wait(check->helper));
  for (int i = 0; i < SEQS; i++) {
    last[i] = lengths[i] - 1;
    if (i > 0) memcpy(table + i * p.max_pages, table + (i - 1) * p.max_pages, (size_t)shared[i] * sizeof *table);
  }
  ZK_TRY(zk_check_upload(check, table, table_bytes, (void **)&p.table_d));
  ZK_TRY(make_batch(check, &p, SEQS, ones, last, &batch));
  int32_t *shared_d;
  char *out;
  float *lse;
  ZK_TRY(zk_check_upload(check, shared, sizeof shared, (void **)&shared_d));
  ZK_TRY(zk_check_host(check, q_bytes(&p, SEQS), (void **)&out));
  ZK_TRY(zk_check_host(check, FLOAT_BYTES(SEQS * s.heads), (void **)&lse));
  ZK_TRY(zk_attention_forward(check->helper, &p.desc, &batch, p.q_d, p.k_cache, p.v_cache, p.out_d, p.lse_d));
  ZK_TRY(zk_copy_to_host(check->helper, out, p.out_d, q_bytes(&p, SEQS)));
  ZK_TRY(zk_copy_to_host(check->helper, lse, p.lse_d, FLOAT_BYTES(SEQS * s.heads)));
  ZK_TRY(zk_fill_zero(check->helper, p.out_d, q_bytes(&p, SEQS)));
  ZK_TRY(zk_stream_wait(check->helper));
  batch.seq_shared_pages = shared_d;
  ZK_TRY(zk_attention_forward(check->stream, &p.desc, &batch, p.q_d, p.k_cache, p.v_cache, p.out_d, p.lse_d));
  ZK_TRY(compare(check, "out", p.out_d, out, num_q(&p, SEQS)));
  return zk_check_compare(check, "lse", p.lse_d, lse, (int64_t)SEQS * s.heads);
}

// A long cache, and single rows at sampled positions of it.
static zk_status long_case(zk_check *check) {
  static const int32_t sampled[] = {0, 63, 64, 127, 128, 511, 512, 4095, 8192, 12345, 16383};
  const int32_t length = 16384;
  const shape s = {2, 1, 64, 64};
  zk_check_case(check, "single rows of a sequence of %d", length);
  problem p;
  ZK_TRY(make_problem(check, s, ZK_CHECK_NORMAL, &length, 1, &p));
  zk_attention_batch all;
  ZK_TRY(make_batch(check, &p, 1, &length, &(int32_t){0}, &all));
  ZK_TRY(zk_kv_write(check->helper, &p.desc, &all, p.k_d, p.v_d, p.k_cache, p.v_cache));
  ZK_TRY(zk_stream_wait(check->helper));
  for (int i = 0; i < NUM(sampled); i++) {
    const int32_t pos = sampled[i], one = 1;
    zk_attention_batch batch;
    float out[2 * 64], lse[2];
    ZK_TRY(make_batch(check, &p, 1, &one, &pos, &batch));
    ZK_TRY(zk_attention_forward(check->stream, &p.desc, &batch, p.q_d + q_bytes(&p, pos), p.k_cache, p.v_cache, p.out_d,
                                p.lse_d));
    reference_forward(&p.desc, 1, pos, p.q + q_bytes(&p, pos), p.k, p.v, out, lse);
    ZK_TRY(compare(check, "out", p.out_d, out, 2 * 64));
    ZK_TRY(zk_check_compare(check, "lse", p.lse_d, lse, 2));
  }
  return ZK_OK;
}

// Scores so far apart that sums are scaled again and again, that most weights vanish, and that the rounding of large products shows.
static zk_status sharp_cases(zk_check *check) {
  static const int32_t lengths[] = {641, 40};
  static const float sharpness[] = {8.0f, 60.0f, 0x1p+24f};
  for (int i = 0; i < NUM(sharpness); i++)
    ZK_TRY(batch_case(check, check->helper, check->stream, sharpness[i], (shape){2, 1, i == 1 ? 128 : 64, 32}, ZK_CHECK_NORMAL, lengths, NUM(lengths)));
  return ZK_OK;
}

// bf16's reference is slow: its long form takes a third of shapes and kinds. The short form takes one of three cases for each kind of data.
static bool is_skipped(const zk_check *check, int shape, int data) {
  return check->numerics != ZK_F32 && shape > 0 && (shape + data) % 3 != 0;
}

zk_status zk_check_attention(zk_check *check) {
  static const int32_t whole[] = {1 << 20}, chunks[] = {100, 1, 30, 410, 7}, by_token[] = {60, 1},
                       lengths[] = {17, 130, 1, 64, 129};
  const bool sparse = check->quick;
  for (int data = 0; data < ZK_CHECK_NUM_DATA; data++)
    for (int i = 0; i < (check->quick ? 1 : NUM(shapes)); i++) {
      const shape s = shapes[i];
      if (is_skipped(check, i, data)) continue;
      if (!sparse || data % 3 == 0) ZK_TRY(chunked_case(check, s, data, 131, whole, 1));
      if (!sparse || data % 3 == 1) ZK_TRY(chunked_case(check, s, data, 66, by_token, 2));
      if (!sparse || data % 3 == 2)
        ZK_TRY(batch_case(check, check->helper, check->stream, 1.0f, s, data, lengths, NUM(lengths)));
      if (!check->quick && i == data % NUM(shapes)) ZK_TRY(chunked_case(check, s, data, 561, chunks, NUM(chunks)));
    }
  // From one split to the next.
  ZK_TRY(chunked_case(check, sparse ? (shape){1, 1, 32, 16} : shapes[0], ZK_CHECK_NORMAL, 513, whole, 1));
  if (check->quick) return ZK_OK;
  // As many blocks as a GPU has room for: each walks all the splits of its rows.
  if (zk_device_get_kind(check->device) == ZK_DEVICE_CUDA)
    ZK_TRY(chunked_case(check, (shape){32, 32, 8, 16}, ZK_CHECK_NORMAL, 545, whole, 1));
  ZK_TRY(sharp_cases(check));
  ZK_TRY(shared_case(check));
  return long_case(check);
}

// bf16: what a random value becomes in the case of subnormal sums: its whole part, or a power of two with its sign.
static void make_whole(char *x, int64_t n) {
  for (zk_bf16 *v = (zk_bf16 *)x; v < (zk_bf16 *)x + n; v++) *v = zk_float_to_bf16((float)(int32_t)zk_bf16_to_float(*v));
}
static void make_power(char *x, int64_t n, float power) {
  for (zk_bf16 *v = (zk_bf16 *)x; v < (zk_bf16 *)x + n; v++) *v = zk_float_to_bf16(v->bits & 0x8000u ? -power : power);
}

// `low`: every sum that dq is made of is a subnormal, of tiles and of all of them, and nothing but dq itself is ever rounded: scores 0 and weights
// 2^-7, v whole, dout 2^-60, so ds whole times 2^-67, k 2^-78, products whole times 2^-145; the scale makes dq normal.
static zk_status backward_case(zk_check *check, shape s, zk_check_data data, const int32_t *lengths, int num_seqs, bool low) {
  zk_check_case(check, "%d sequences, %d first, heads %d/%d, head_dim %d, pages of %d, %s%s", num_seqs, lengths[0],
                s.heads, s.kv_heads, s.dim, s.page_tokens, zk_check_data_name(data), low ? ", subnormal sums" : "");
  static const int32_t zeros[MAX_SEQS];
  problem p;
  zk_attention_batch batch;
  ZK_TRY(make_problem(check, s, data, lengths, num_seqs, &p));
  ZK_TRY(make_batch(check, &p, num_seqs, lengths, zeros, &batch));
  const int64_t rows = p.num_rows;
  if (low) {
    memset(p.q, 0, q_bytes(&p, rows));
    make_power(p.k, num_kv(&p, rows), 0x1p-78f);
    make_whole(p.v, num_kv(&p, rows));
    p.desc.scale = 0x1p+80f;
    ZK_TRY(upload_inputs(check, &p));
  }
  char *dout, *out, *dq, *dk, *dv, *dout_d, *dq_d, *dk_d, *dv_d;
  float *lse;
  ZK_TRY(draw(check, data, num_q(&p, rows), &dout));
  if (low) make_power(dout, num_q(&p, rows), 0x1p-60f);
  ZK_TRY(zk_check_host(check, q_bytes(&p, rows), (void **)&out));
  ZK_TRY(zk_check_host(check, FLOAT_BYTES(rows * s.heads), (void **)&lse));
  ZK_TRY(zk_check_host(check, q_bytes(&p, rows), (void **)&dq));
  ZK_TRY(zk_check_host(check, kv_bytes(&p, rows), (void **)&dk));
  ZK_TRY(zk_check_host(check, kv_bytes(&p, rows), (void **)&dv));
  for (int i = 0; i < num_seqs; i++) {
    const size_t at_q = q_bytes(&p, p.start[i]), at_kv = kv_bytes(&p, p.start[i]);
    float *seq_lse = lse + (int64_t)p.start[i] * s.heads;
    if (low)
      for (int64_t j = 0; j < (int64_t)lengths[i] * s.heads; j++) seq_lse[j] = 7.0f; // and out is 0
    else reference_forward(&p.desc, lengths[i], 0, p.q + at_q, p.k + at_kv, p.v + at_kv, out + at_q, seq_lse);
    reference_backward(&p.desc, lengths[i], p.q + at_q, p.k + at_kv, p.v + at_kv, out + at_q, dout + at_q, seq_lse,
                       dq + at_q, dk + at_kv, dv + at_kv);
  }
  ZK_TRY(zk_check_upload(check, dout, q_bytes(&p, rows), (void **)&dout_d));
  ZK_TRY(zk_check_device(check, q_bytes(&p, rows), (void **)&dq_d));
  ZK_TRY(zk_check_device(check, kv_bytes(&p, rows), (void **)&dk_d));
  ZK_TRY(zk_check_device(check, kv_bytes(&p, rows), (void **)&dv_d));
  ZK_TRY(zk_copy_to_device(check->stream, p.out_d, out, q_bytes(&p, rows)));
  ZK_TRY(zk_copy_to_device(check->stream, p.lse_d, lse, FLOAT_BYTES(rows * s.heads)));
  ZK_TRY(zk_kv_write(check->helper, &p.desc, &batch, p.k_d, p.v_d, p.k_cache, p.v_cache));
  ZK_TRY(zk_stream_wait(check->helper));
  ZK_TRY(zk_attention_backward(check->stream, &p.desc, &batch, p.q_d, p.k_cache, p.v_cache, p.out_d, dout_d, p.lse_d,
                               dq_d, dk_d, dv_d));
  ZK_TRY(compare(check, "dq", dq_d, dq, num_q(&p, rows)));
  ZK_TRY(compare(check, "dk", dk_d, dk, num_kv(&p, rows)));
  return compare(check, "dv", dv_d, dv, num_kv(&p, rows));
}

// bf16, a sequence longer than a part: sampled rows and keys, at lse and out that no forward pass made.
static zk_status long_backward_case(zk_check *check, int32_t dim) {
  static const int32_t sampled[] = {0, 1, 127, 128, 4000, 4095, 4096, 4099}, length = 4100, zero = 0;
  const shape s = {2, 1, dim, 64};
  zk_check_case(check, "sampled rows of a sequence of %d, head_dim %d", length, dim);
  problem p;
  zk_attention_batch batch;
  void *out, *dout, *out_d, *dout_d, *dq_d, *dk_d, *dv_d;
  float *lse, *lse_d;
  ZK_TRY(make_problem(check, s, ZK_CHECK_NORMAL, &length, 1, &p));
  ZK_TRY(make_batch(check, &p, 1, &length, &zero, &batch));
  ZK_TRY(draw(check, ZK_CHECK_NORMAL, num_q(&p, length), (char **)&out));
  ZK_TRY(draw(check, ZK_CHECK_NORMAL, num_q(&p, length), (char **)&dout));
  ZK_TRY(zk_check_floats(check, ZK_CHECK_NORMAL, (int64_t)length * s.heads, &lse));
  ZK_TRY(zk_check_upload(check, out, q_bytes(&p, length), &out_d));
  ZK_TRY(zk_check_upload(check, dout, q_bytes(&p, length), &dout_d));
  ZK_TRY(zk_check_upload(check, lse, FLOAT_BYTES(length * s.heads), (void **)&lse_d));
  ZK_TRY(zk_check_device(check, q_bytes(&p, length), &dq_d));
  ZK_TRY(zk_check_device(check, kv_bytes(&p, length), &dk_d));
  ZK_TRY(zk_check_device(check, kv_bytes(&p, length), &dv_d));
  ZK_TRY(zk_kv_write(check->helper, &p.desc, &batch, p.k_d, p.v_d, p.k_cache, p.v_cache));
  ZK_TRY(zk_stream_wait(check->helper));
  ZK_TRY(zk_attention_backward(check->stream, &p.desc, &batch, p.q_d, p.k_cache, p.v_cache, out_d, dout_d, lse_d, dq_d,
                               dk_d, dv_d));
  const zk_attention_reference r = reference_of(&p.desc, length, 0);
  const zk_bf16 *q = (const zk_bf16 *)p.q, *k = (const zk_bf16 *)p.k, *v = (const zk_bf16 *)p.v;
  for (int i = 0; i < NUM(sampled); i++) {
    const int32_t at = sampled[i];
    zk_bf16 dq[2 * 128], dk[128], dv[128];
    for (int32_t h = 0; h < s.heads; h++)
      zk_attention_reference_bf16_dq(&r, q, k, v, out, dout, lse, at, h, dq + dim * h);
    zk_attention_reference_bf16_dkv(&r, q, k, v, out, dout, lse, at, 0, dk, dv);
    ZK_TRY(compare(check, "dq", (char *)dq_d + q_bytes(&p, at), dq, num_q(&p, 1)));
    ZK_TRY(compare(check, "dk", (char *)dk_d + kv_bytes(&p, at), dk, num_kv(&p, 1)));
    ZK_TRY(compare(check, "dv", (char *)dv_d + kv_bytes(&p, at), dv, num_kv(&p, 1)));
  }
  return ZK_OK;
}

zk_status zk_check_attention_backward(zk_check *check) {
  static const int32_t lengths[] = {65, 1, 130, 64}, longest[] = {4100}, many_tiles[] = {390, 3}, few_tiles[] = {130, 3},
                       in_turns[] = {200, 1, 140, 129, 260, 70};
  for (int data = 0; data < ZK_CHECK_NUM_DATA; data++) {
    if (data == ZK_CHECK_LARGE) continue; // products of five such values overflow
    if (check->quick && check->numerics != ZK_F32 && data % 2 == 1) continue;
    for (int i = 0; i < (check->quick ? 1 : NUM(shapes)); i++)
      if (!is_skipped(check, i, data)) ZK_TRY(backward_case(check, shapes[i], data, lengths, NUM(lengths), false));
  }
  if (check->numerics != ZK_F32 && check->quick) return backward_case(check, (shape){2, 1, 128, 48}, ZK_CHECK_NORMAL, few_tiles, NUM(few_tiles), false);
  if (check->quick) return ZK_OK;
  if (check->numerics != ZK_F32) {
    for (int low = 0; low < 2; low++) {
      ZK_TRY(backward_case(check, (shape){2, 1, 128, 48}, ZK_CHECK_NORMAL, many_tiles, NUM(many_tiles), low));
      ZK_TRY(backward_case(check, (shape){6, 2, 64, 64}, ZK_CHECK_NORMAL, many_tiles, NUM(many_tiles), low));
    }
    ZK_TRY(backward_case(check, (shape){16, 8, 64, 16}, ZK_CHECK_NORMAL, in_turns, NUM(in_turns), false));
    ZK_TRY(long_backward_case(check, 8));
    return long_backward_case(check, 64);
  }
  return backward_case(check, (shape){1, 1, 8, 64}, ZK_CHECK_NORMAL, longest, 1, false);
}

// Keys grow by 1,000 a position in every element, and the query at position p is 1 in element p % D alone: the other
// keys' weights are exactly 0, so out is that position's v, and lse is its k[p % D].
static zk_status read_back_case(zk_check *check, shape s, const int32_t *lengths, int num_seqs) {
  zk_check_case(check, "KV heads %d, head_dim %d, pages of %d", s.kv_heads, s.dim, s.page_tokens);
  static const int32_t zeros[MAX_SEQS];
  problem p;
  zk_attention_batch batch;
  float *k_seen;
  ZK_TRY(make_problem(check, s, ZK_CHECK_NORMAL, lengths, num_seqs, &p));
  ZK_TRY(zk_check_host(check, FLOAT_BYTES(p.num_rows * s.heads), (void **)&k_seen));
  p.desc.scale = 1.0f;
  float *q = (float *)p.q, *k = (float *)p.k;
  for (int seq = 0; seq < num_seqs; seq++)
    for (int32_t pos = 0; pos < lengths[seq]; pos++)
      for (int32_t h = 0; h < s.heads; h++)
        for (int32_t d = 0; d < s.dim; d++) {
          const int64_t row = (int64_t)(p.start[seq] + pos) * s.heads + h, at = row * s.dim + d;
          k[at] += 1000.0f * (float)(pos + 1);
          q[at] = d == pos % s.dim ? 1.0f : 0.0f;
          if (d == pos % s.dim) k_seen[row] = k[at];
        }
  ZK_TRY(upload_inputs(check, &p));
  ZK_TRY(make_batch(check, &p, num_seqs, lengths, zeros, &batch));
  ZK_TRY(zk_kv_write(check->stream, &p.desc, &batch, p.k_d, p.v_d, p.k_cache, p.v_cache));
  ZK_TRY(zk_stream_wait(check->stream));
  ZK_TRY(zk_attention_forward(check->helper, &p.desc, &batch, p.q_d, p.k_cache, p.v_cache, p.out_d, p.lse_d));
  ZK_TRY(zk_stream_wait(check->helper));
  ZK_TRY(compare(check, "v", p.out_d, p.v, num_kv(&p, p.num_rows)));
  return zk_check_compare(check, "k", p.lse_d, k_seen, (int64_t)p.num_rows * s.heads);
}

// bf16 has too few bits for keys that grow; sharp attention, in which most keys lead some row, shows every element of the cache.
zk_status zk_check_kv_write(zk_check *check) {
  static const int32_t lengths[] = {150, 1, 33};
  for (int i = 0; i < (check->quick ? 1 : NUM(shapes)); i++) {
    const shape s = {shapes[i].kv_heads, shapes[i].kv_heads, shapes[i].dim, shapes[i].page_tokens};
    if (check->numerics == ZK_F32) ZK_TRY(read_back_case(check, s, lengths, NUM(lengths)));
    else ZK_TRY(batch_case(check, check->stream, check->helper, 8.0f, s, ZK_CHECK_NORMAL, lengths, NUM(lengths)));
  }
  return ZK_OK;
}
