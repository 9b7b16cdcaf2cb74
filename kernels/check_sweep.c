// A row's bits in any company: the same rows computed in batches of many sizes, at several places, equal the rows of one
// large batch, of which a linear layer's are compared with the reference too (other operations' in their own checks). What a
// kernel picks by batch size shows here. It runs on the helper's stream, which no fault reaches: a fault is named by its own
// operation alone.
#include "kernels/backend.h"
#include "kernels/check_case.h"
#include "kernels/reference/linear_reference.h"

static const int64_t batches[] = {1, 2, 3, 8, 17, 64, 65, 257, 512, 4096, 16384};
#define MOST_ROWS 16384
#define NUM(a) (int)(sizeof(a) / sizeof((a)[0]))

// One operation over rows: width elements of `bytes` bytes come out for each.
typedef struct sweep sweep;
struct sweep {
  zk_check *check;
  const char *name;
  int64_t most_rows, width;
  size_t bytes;     // of an output element
  int32_t in, out;  // linear
  void *x, *w, *packed, *y, *logprob;
  float *x_host, *w_host;
  int32_t *targets; // [most_rows]
  uint32_t *names;  // [4][most_rows] what names the random numbers
  zk_attention_desc attention;
  int32_t max_pages, *iota, *positions, *page_table; // positions: of each row in its sequence
  void *k_cache, *v_cache;
  float *cos_table, *sin_table;
  zk_status (*run)(const sweep *s, int64_t first, int64_t rows);
};

static const char *at(const sweep *s, const void *base, int64_t row, int64_t width) {
  return (const char *)base + (size_t)(row * width) * zk_numerics_bytes(s->check->numerics);
}

// Runs the whole, then every batch at its places; compares on the host.
static zk_status run_sweep(const sweep *s) {
  zk_check *check = s->check;
  const size_t row_bytes = (size_t)s->width * s->bytes;
  char *whole, *part;
  ZK_TRY(zk_check_host(check, (size_t)s->most_rows * row_bytes, (void **)&whole));
  ZK_TRY(zk_check_host(check, (size_t)s->most_rows * row_bytes, (void **)&part));
  ZK_TRY(s->run(s, 0, s->most_rows));
  ZK_TRY(zk_copy_to_host(check->helper, whole, s->y, (size_t)s->most_rows * row_bytes));
  ZK_TRY(zk_stream_wait(check->helper));
  for (int b = 0; b < NUM(batches); b++) {
    const int64_t rows = batches[b], last = s->most_rows - rows, places[] = {0, 1, 63, last / 2 + 5, last};
    for (int p = 0; p < NUM(places); p++) {
      if (rows > s->most_rows || places[p] > last || (rows >= 4096 && p % 4 != 0)) continue;
      ZK_TRY(s->run(s, places[p], rows));
      ZK_TRY(zk_copy_to_host(check->helper, part, s->y, (size_t)rows * row_bytes));
      ZK_TRY(zk_stream_wait(check->helper));
      zk_check_compare_host(check, s->name, part, whole + (size_t)places[p] * row_bytes, s->bytes, rows * s->width);
    }
  }
  return ZK_OK;
}

static zk_status begin(zk_check *check, const char *name, int64_t most_rows, int32_t in, int32_t out, int64_t width, size_t bytes, sweep *s) {
  zk_check_case(check, "%s, rows of %d, in batches of 1 to %lld", name, in, (long long)most_rows);
  *s = (sweep){.check = check, .name = name, .most_rows = most_rows, .width = width, .bytes = bytes, .in = in, .out = out};
  ZK_TRY(zk_check_elements(check, ZK_CHECK_NORMAL, most_rows * in, &s->x_host));
  ZK_TRY(zk_check_upload_elements(check, s->x_host, most_rows * in, &s->x));
  ZK_TRY(zk_check_elements(check, ZK_CHECK_NORMAL, (int64_t)in * out, &s->w_host));
  ZK_TRY(zk_check_upload_elements(check, s->w_host, (int64_t)in * out, &s->w));
  return zk_check_device(check, (size_t)(most_rows * width) * bytes, &s->y);
}

// ---- linear

static zk_linear_desc linear_desc(const sweep *s, int64_t rows) { return (zk_linear_desc){s->check->numerics, rows, s->in, s->out}; }

static zk_status run_linear(const sweep *s, int64_t first, int64_t rows) {
  const zk_linear_desc desc = linear_desc(s, rows);
  return zk_linear_forward(s->check->helper, &desc, at(s, s->x, first, s->in), s->w, s->packed, NULL, NULL, s->y);
}

static zk_status pack(sweep *s) {
  const zk_linear_desc desc = linear_desc(s, 0);
  const size_t bytes = zk_linear_packed_bytes(s->check->device, s->check->numerics, s->in, s->out);
  if (bytes == 0) return ZK_OK;
  ZK_TRY(zk_check_device(s->check, bytes, &s->packed));
  return zk_linear_pack(s->check->helper, &desc, s->w, s->packed);
}

static zk_status sweep_linear(zk_check *check, int64_t most_rows, int32_t in, int32_t out) {
  sweep s;
  float *want;
  const size_t bytes = zk_numerics_bytes(check->numerics);
  ZK_TRY(begin(check, "linear", most_rows, in, out, out, bytes, &s));
  ZK_TRY(pack(&s));
  s.run = run_linear;
  ZK_TRY(run_sweep(&s));
  ZK_TRY(zk_check_host(check, (size_t)out * sizeof *want, (void **)&want));
  ZK_TRY(s.run(&s, 0, most_rows));
  ZK_TRY(zk_stream_wait(check->helper));
  for (int64_t r = 0; r < most_rows; r += most_rows / 4 + 1) {
    zk_linear_reference_forward(check->numerics, 1, in, out, s.x_host + r * in, s.w_host, NULL, NULL, want);
    ZK_TRY(zk_check_compare_elements(check, "linear", at(&s, s.y, r, out), want, out));
  }
  return ZK_OK;
}

static zk_status run_backward_input(const sweep *s, int64_t first, int64_t rows) { // x is dy here, w is [in, out]
  const zk_linear_desc desc = {s->check->numerics, rows, s->out, s->in};
  return zk_linear_backward_input(s->check->helper, &desc, at(s, s->x, first, s->in), s->w, NULL, s->y);
}

static zk_status sweep_backward_input(zk_check *check, int64_t most_rows, int32_t in, int32_t out) {
  sweep s;
  ZK_TRY(begin(check, "linear_backward_input", most_rows, in, out, out, zk_numerics_bytes(check->numerics), &s));
  s.run = run_backward_input;
  return run_sweep(&s);
}

// ---- rows

static zk_status run_rmsnorm(const sweep *s, int64_t first, int64_t rows) {
  const zk_rmsnorm_desc desc = {s->check->numerics, rows, 1, s->in, 1e-5f};
  return zk_rmsnorm_forward(s->check->helper, &desc, at(s, s->x, first, s->in), s->w, s->y, NULL);
}

static zk_status run_swiglu(const sweep *s, int64_t first, int64_t rows) {
  const char *x = at(s, s->x, first, s->in);
  return zk_swiglu_forward(s->check->helper, s->check->numerics, rows * s->in, x, x, s->y);
}

static zk_status sweep_rows(zk_check *check, int64_t most_rows, int32_t width) {
  sweep s;
  ZK_TRY(begin(check, "rmsnorm", most_rows, width, 1, width, zk_numerics_bytes(check->numerics), &s));
  s.run = run_rmsnorm;
  ZK_TRY(run_sweep(&s));
  ZK_TRY(begin(check, "swiglu", most_rows, width, 1, width, zk_numerics_bytes(check->numerics), &s));
  s.run = run_swiglu;
  return run_sweep(&s);
}

static zk_status run_embedding(const sweep *s, int64_t first, int64_t rows) {
  const zk_embedding_desc desc = {s->check->numerics, rows, s->in, (int32_t)s->most_rows};
  return zk_embedding_forward(s->check->helper, &desc, s->targets + first, s->x, s->y);
}

// Turns a copy, as RoPE works in place.
static zk_status run_rope(const sweep *s, int64_t first, int64_t rows) {
  const zk_rope_desc desc = {s->check->numerics, rows, s->in / 32, 32};
  ZK_TRY(zk_copy_on_device(s->check->helper, s->y, at(s, s->x, first, s->in), (size_t)(rows * s->in) * zk_numerics_bytes(s->check->numerics)));
  return zk_rope_forward(s->check->helper, &desc, s->positions + first, s->cos_table, s->sin_table, s->y);
}

static zk_status upload_integers(zk_check *check, int32_t bound, int64_t n, int32_t **device) {
  int32_t *host;
  ZK_TRY(zk_check_integers(check, bound, n, &host));
  return zk_check_upload(check, host, (size_t)n * sizeof *host, (void **)device);
}

static zk_status sweep_places(zk_check *check, int64_t most_rows) {
  enum { NUM_POSITIONS = 300, HALF = 16 };
  const size_t bytes = zk_numerics_bytes(check->numerics);
  sweep s;
  float *tables;
  ZK_TRY(begin(check, "embedding", most_rows, 96, 1, 96, bytes, &s));
  ZK_TRY(upload_integers(check, (int32_t)most_rows, most_rows, &s.targets));
  s.run = run_embedding;
  ZK_TRY(run_sweep(&s));
  ZK_TRY(begin(check, "rope", most_rows, 96, 1, 96, bytes, &s));
  ZK_TRY(upload_integers(check, NUM_POSITIONS, most_rows, &s.positions));
  ZK_TRY(zk_check_floats(check, ZK_CHECK_NORMAL, 2 * NUM_POSITIONS * HALF, &tables));
  ZK_TRY(zk_check_upload(check, tables, NUM_POSITIONS * HALF * sizeof(float), (void **)&s.cos_table));
  ZK_TRY(zk_check_upload(check, tables + NUM_POSITIONS * HALF, NUM_POSITIONS * HALF * sizeof(float), (void **)&s.sin_table));
  s.run = run_rope;
  return run_sweep(&s);
}

// ---- attention: rows that decode, each at the end of a sequence of its own length

static zk_status run_decode(const sweep *s, int64_t first, int64_t rows) {
  const zk_attention_batch batch = {(int32_t)rows, (int32_t)rows, s->max_pages, s->iota, s->positions + first, s->page_table + first * s->max_pages, NULL};
  return zk_attention_forward(s->check->helper, &s->attention, &batch, at(s, s->x, first, s->in), s->k_cache, s->v_cache, s->y, NULL);
}

// The caches of most_rows sequences of 1 to 700 keys, each with pages of its own in a shuffled order.
static zk_status fill_caches(sweep *s) {
  zk_check *check = s->check;
  const zk_attention_desc *d = &s->attention;
  const int32_t n = (int32_t)s->most_rows, num_pages = n * s->max_pages, row = d->num_kv_heads * d->head_dim;
  int32_t *ints, total = 0;
  float *values;
  void *k, *v;
  ZK_TRY(zk_check_host(check, (size_t)(3 * n + 2 + num_pages) * sizeof *ints, (void **)&ints));
  int32_t *iota = ints, *row_start = iota + n + 1, *last = row_start + n + 1, *table = last + n;
  for (int32_t i = 0; i < n; i++) {
    const int32_t length = 1 + (i * 97 + 699) % 700;
    iota[i] = i, last[i] = length - 1, row_start[i] = total, total += length;
  }
  iota[n] = n, row_start[n] = total;
  for (int32_t i = 0; i < num_pages; i++) table[i] = (int32_t)(((int64_t)i * 7919) % num_pages); // 7919: a prime that divides no such number
  ZK_TRY(zk_check_upload(check, iota, (size_t)(n + 1) * sizeof *ints, (void **)&s->iota));
  ZK_TRY(zk_check_upload(check, last, (size_t)n * sizeof *ints, (void **)&s->positions));
  ZK_TRY(zk_check_upload(check, table, (size_t)num_pages * sizeof *ints, (void **)&s->page_table));
  int32_t *starts_d, *zeros_d;
  ZK_TRY(zk_check_upload(check, row_start, (size_t)(n + 1) * sizeof *ints, (void **)&starts_d));
  ZK_TRY(zk_check_device(check, (size_t)n * sizeof *ints, (void **)&zeros_d));
  const size_t bytes = zk_kv_cache_bytes(check->device, d, num_pages);
  ZK_TRY(zk_check_device(check, bytes, &s->k_cache));
  ZK_TRY(zk_check_device(check, bytes, &s->v_cache));
  ZK_TRY(zk_check_elements(check, ZK_CHECK_NORMAL, (int64_t)total * row, &values));
  ZK_TRY(zk_check_upload_elements(check, values, (int64_t)total * row, &k));
  ZK_TRY(zk_check_elements(check, ZK_CHECK_NORMAL, (int64_t)total * row, &values));
  ZK_TRY(zk_check_upload_elements(check, values, (int64_t)total * row, &v));
  const zk_attention_batch all = {total, n, s->max_pages, starts_d, zeros_d, s->page_table, NULL};
  ZK_TRY(zk_kv_write(check->helper, d, &all, k, v, s->k_cache, s->v_cache));
  return zk_stream_wait(check->helper); // it is read on another stream
}

static zk_status sweep_decode(zk_check *check, int64_t most_rows, int32_t head_dim) {
  enum { HEADS = 6, KV_HEADS = 2, PAGE = 32 };
  sweep s;
  ZK_TRY(begin(check, "attention", most_rows, HEADS * head_dim, 1, HEADS * head_dim, zk_numerics_bytes(check->numerics), &s));
  s.attention = (zk_attention_desc){check->numerics, HEADS, KV_HEADS, head_dim, PAGE, 0.25f};
  s.max_pages = (700 + PAGE - 1) / PAGE;
  ZK_TRY(fill_caches(&s));
  s.run = run_decode;
  return run_sweep(&s);
}

// ---- LM head

static zk_lmhead_desc head_desc(const sweep *s, int64_t rows) { return (zk_lmhead_desc){s->check->numerics, rows, s->in, s->out, 1.0, 0, 1.0}; }

static zk_status run_logprob(const sweep *s, int64_t first, int64_t rows) {
  const zk_lmhead_desc desc = head_desc(s, rows);
  const zk_lmhead_out out = {.logprob = s->y};
  return zk_lmhead_logprob(s->check->helper, &desc, at(s, s->x, first, s->in), s->w, s->packed, s->targets + first, &out);
}

static zk_status run_sample(const sweep *s, int64_t first, int64_t rows) { // y is the token
  const zk_lmhead_desc desc = head_desc(s, rows);
  const zk_sample_ids ids = {77, s->names + first, s->names + s->most_rows + first, s->names + 2 * s->most_rows + first, s->names + 3 * s->most_rows + first};
  const zk_lmhead_out out = {.logprob = s->logprob};
  return zk_lmhead_sample(s->check->helper, &desc, &ids, at(s, s->x, first, s->in), s->w, s->packed, s->y, &out);
}

static zk_status sweep_lmhead(zk_check *check, int64_t most_rows, int32_t hidden, int32_t vocab) {
  sweep s;
  int32_t *targets, *names;
  for (int sample = 0; sample < 2; sample++) {
    ZK_TRY(begin(check, sample ? "lmhead_sample" : "lmhead_logprob", most_rows, hidden, vocab, 1, 4, &s));
    ZK_TRY(pack(&s));
    ZK_TRY(zk_check_integers(check, vocab, most_rows, &targets));
    ZK_TRY(zk_check_upload(check, targets, (size_t)most_rows * sizeof *targets, (void **)&s.targets));
    ZK_TRY(zk_check_integers(check, 1000, 4 * most_rows, &names));
    ZK_TRY(zk_check_upload(check, names, (size_t)(4 * most_rows) * sizeof *names, (void **)&s.names));
    ZK_TRY(zk_check_device(check, (size_t)most_rows * sizeof(float), &s.logprob));
    s.run = sample ? run_sample : run_logprob;
    ZK_TRY(run_sweep(&s));
  }
  return ZK_OK;
}

zk_status zk_check_sweep(zk_check *check) {
  const int on_gpu = check->device->kind != ZK_DEVICE_CPU;
  const int64_t most_rows = check->quick ? 257 : MOST_ROWS, head_rows = on_gpu && !check->quick ? MOST_ROWS : check->quick ? 65 : 512;
  const int32_t wide = on_gpu && !check->quick ? 1024 : 48, wider = on_gpu && !check->quick ? 3072 : 80;
  ZK_TRY(sweep_linear(check, most_rows, wide, wider));
  ZK_TRY(sweep_backward_input(check, most_rows, wide, wider));
  ZK_TRY(sweep_places(check, most_rows));
  ZK_TRY(sweep_decode(check, check->quick ? 17 : on_gpu ? 512 : 65, on_gpu && !check->quick ? 128 : 32));
  ZK_TRY(sweep_rows(check, most_rows, on_gpu ? 4096 / (check->quick ? 16 : 1) : 96));
  return sweep_lmhead(check, head_rows, wide, on_gpu && !check->quick ? 9001 : 301);
}
