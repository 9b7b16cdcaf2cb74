// Checks of the LM head: log-probabilities, sampling and gradients, over vocabularies that end inside and at a tile,
// for every kind of filter.
#include <stdbool.h>

#include "kernels/check_case.h"
#include "kernels/linear.h"
#include "kernels/lmhead.h"
#include "kernels/reference/lmhead_reference.h"

#define NUM(a) (int)(sizeof(a) / sizeof((a)[0]))
#define FLOAT_BYTES(n) ((size_t)(n) * sizeof(float))
#define SEED 0x123456789abcdef0ull

typedef struct {
  int64_t rows;
  int32_t hidden, vocab;
} shape;
static const shape shapes[] = {{5, 96, 300}, {1, 33, 129}, {3, 64, 128}, {17, 65, 1000}, {2, 17, 4200}, {3, 16, 8500}, {33, 7, 1}};

typedef struct {
  double temperature, top_p;
  int32_t top_k;
} distribution;
// At temperature 50 noise alone decides.
static const distribution distributions[] = {{1.0, 1.0, 0},  {0.7, 1.0, 0}, {0.0, 1.0, 0},   {50.0, 1.0, 0},
                                             {1.0, 1.0, 10}, {1.0, 0.9, 0}, {0.8, 0.95, 50}};

// A case's inputs on both sides.
typedef struct {
  zk_lmhead_desc desc;
  float *x, *w;             // f32
  zk_bf16 *x_bf16, *w_bf16; // or bf16
  void *x_d, *w_d;
  int32_t *target, *target_d;
  void *packed;
} problem;

static int filtered(const problem *p) { return p->desc.top_k > 0 || p->desc.top_p < 1.0; }

static zk_status make_problem(zk_check *check, shape s, distribution d, zk_check_data data, problem *p) {
  zk_check_case(check, "rows %lld, hidden %d, vocabulary %d, temperature %g, top_k %d, top_p %g, %s", (long long)s.rows,
                s.hidden, s.vocab, d.temperature, d.top_k, d.top_p, zk_check_data_name(data));
  *p = (problem){.desc = {check->numerics, s.rows, s.hidden, s.vocab, d.temperature, d.top_k, d.top_p}};
  const int64_t num_x = s.rows * s.hidden, num_w = (int64_t)s.hidden * s.vocab;
  ZK_TRY(zk_check_integers(check, s.vocab, s.rows, &p->target));
  ZK_TRY(zk_check_upload(check, p->target, (size_t)s.rows * sizeof(int32_t), (void **)&p->target_d));
  if (check->numerics != ZK_F32) {
    ZK_TRY(zk_check_bf16(check, data, num_x, &p->x_bf16));
    ZK_TRY(zk_check_bf16(check, ZK_CHECK_NORMAL, num_w, &p->w_bf16));
    ZK_TRY(zk_check_upload(check, p->x_bf16, (size_t)num_x * sizeof(zk_bf16), &p->x_d));
    return zk_check_upload(check, p->w_bf16, (size_t)num_w * sizeof(zk_bf16), &p->w_d);
  }
  ZK_TRY(zk_check_floats(check, data, num_x, &p->x));
  ZK_TRY(zk_check_floats(check, ZK_CHECK_NORMAL, num_w, &p->w));
  ZK_TRY(zk_check_upload(check, p->x, FLOAT_BYTES(num_x), &p->x_d));
  ZK_TRY(zk_check_upload(check, p->w, FLOAT_BYTES(num_w), &p->w_d));
  const size_t packed_bytes = zk_linear_packed_bytes(check->device, ZK_F32, s.hidden, s.vocab);
  if (packed_bytes == 0) return ZK_OK;
  const zk_linear_desc linear = {ZK_F32, s.rows, s.hidden, s.vocab};
  ZK_TRY(zk_check_device(check, packed_bytes, &p->packed));
  ZK_TRY(zk_linear_pack(check->helper, &linear, p->w_d, p->packed));
  return zk_stream_wait(check->helper);
}

static void reference_logits(const problem *p, int64_t t, float *logit) {
  const int32_t hidden = p->desc.hidden, vocab = p->desc.vocab;
  if (p->desc.numerics == ZK_F32) zk_lmhead_reference_logits(hidden, vocab, p->x + t * hidden, p->w, logit);
  else zk_lmhead_reference_bf16_logits(hidden, vocab, p->x_bf16 + t * hidden, p->w_bf16, logit);
}

static zk_status make_out(zk_check *check, int64_t rows, zk_lmhead_out *out) {
  ZK_TRY(zk_check_device(check, FLOAT_BYTES(rows), (void **)&out->logprob));
  ZK_TRY(zk_check_device(check, FLOAT_BYTES(rows), (void **)&out->lse));
  ZK_TRY(zk_check_device(check, FLOAT_BYTES(rows), (void **)&out->entropy));
  ZK_TRY(zk_check_device(check, FLOAT_BYTES(rows), (void **)&out->kept_logit));
  ZK_TRY(zk_check_device(check, (size_t)rows * sizeof(int32_t), (void **)&out->kept_id));
  return zk_check_device(check, (size_t)rows * sizeof(uint64_t), (void **)&out->logits_hash);
}

// Runs the reference row by row; a sampling case has `token` (device) and its row's number as every id.
static zk_status compare_rows(zk_check *check, const problem *p, const zk_lmhead_out *out, const int32_t *token) {
  float *logit;
  ZK_TRY(zk_check_host(check, FLOAT_BYTES(p->desc.vocab), (void **)&logit));
  for (int64_t t = 0; t < p->desc.num_rows; t++) {
    zk_lmhead_reference_row want;
    const uint32_t id = (uint32_t)t;
    reference_logits(p, t, logit);
    if (!zk_lmhead_reference_read(&p->desc, logit, token != NULL ? -1 : p->target[t], SEED, id, id, id, id, &want))
      return ZK_FAIL(ZK_OUT_OF_MEMORY, "check: no memory for a row of logits");
    ZK_TRY(zk_check_compare(check, "logprob", out->logprob + t, &want.logprob, 1));
    ZK_TRY(zk_check_compare(check, "lse", out->lse + t, &want.lse, 1));
    ZK_TRY(zk_check_compare(check, "entropy", out->entropy + t, &want.entropy, 1));
    ZK_TRY(zk_check_compare(check, "logits_hash", out->logits_hash + t, &want.logits_hash, 2));
    if (filtered(p)) ZK_TRY(zk_check_compare(check, "kept_logit", out->kept_logit + t, &want.kept_logit, 1));
    if (filtered(p)) ZK_TRY(zk_check_compare(check, "kept_id", out->kept_id + t, &want.kept_id, 1));
    if (token != NULL) ZK_TRY(zk_check_compare(check, "token", token + t, &want.token, 1));
  }
  return ZK_OK;
}

static zk_status logprob_case(zk_check *check, shape s, distribution d, zk_check_data data) {
  problem p;
  zk_lmhead_out out;
  ZK_TRY(make_problem(check, s, d, data, &p));
  ZK_TRY(make_out(check, s.rows, &out));
  ZK_TRY(zk_lmhead_logprob(check->stream, &p.desc, p.x_d, p.w_d, p.packed, p.target_d, &out));
  return compare_rows(check, &p, &out, NULL);
}

static zk_status sample_case(zk_check *check, shape s, distribution d, zk_check_data data) {
  problem p;
  zk_lmhead_out out;
  ZK_TRY(make_problem(check, s, d, data, &p));
  ZK_TRY(make_out(check, s.rows, &out));
  int32_t *numbers, *numbers_d, *token;
  ZK_TRY(zk_check_host(check, (size_t)s.rows * sizeof *numbers, (void **)&numbers));
  for (int64_t t = 0; t < s.rows; t++) numbers[t] = (int32_t)t;
  ZK_TRY(zk_check_upload(check, numbers, (size_t)s.rows * sizeof *numbers, (void **)&numbers_d));
  ZK_TRY(zk_check_device(check, (size_t)s.rows * sizeof *token, (void **)&token));
  const uint32_t *id = (const uint32_t *)numbers_d;
  const zk_sample_ids ids = {SEED, id, id, id, id};
  ZK_TRY(zk_lmhead_sample(check->stream, &p.desc, &ids, p.x_d, p.w_d, p.packed, token, &out));
  return compare_rows(check, &p, &out, token);
}

// What is differentiated: log-probabilities; the same by the call of both passes, whose first results are compared too; log-probabilities and entropies.
typedef enum { OF_LOGPROBS, AT_ONCE, OF_ENTROPIES } gradient_kind;

static zk_status differentiate(zk_check *check, const problem *p, const zk_chunks *chunks, gradient_kind kind, const float *known, const zk_lmhead_out *out,
                               const float *dlogprob, const float *dentropy, void *dx, float *dweight) {
  if (kind == AT_ONCE)
    return zk_lmhead_loss(check->stream, &p->desc, chunks, p->x_d, p->w_d, p->packed, p->target_d, known, dlogprob, out, dx, dweight);
  return zk_lmhead_backward(check->stream, &p->desc, chunks, p->x_d, p->w_d, p->packed, p->target_d, out, dlogprob, dentropy, dx, dweight);
}

static zk_status gradient_case(zk_check *check, shape s, distribution d, zk_check_data data, gradient_kind kind) {
  problem p;
  zk_lmhead_out out;
  ZK_TRY(make_problem(check, s, d, data, &p));
  ZK_TRY(make_out(check, s.rows, &out));
  const int32_t starts[] = {0, (int32_t)(s.rows / 2), (int32_t)s.rows};
  const zk_chunks chunks = {2, starts};
  const int64_t num_x = s.rows * s.hidden, num_w = (int64_t)s.hidden * s.vocab;
  const bool f32 = check->numerics == ZK_F32;
  float *dlogprob, *dw, *dlogprob_d, *dw_d, *dentropy = NULL, *dentropy_d = NULL;
  void *dx, *dx_d, *alone_d;
  ZK_TRY(zk_check_floats(check, ZK_CHECK_NORMAL, s.rows, &dlogprob));
  if (kind == OF_ENTROPIES) {
    ZK_TRY(zk_check_floats(check, ZK_CHECK_NORMAL, s.rows, &dentropy));
    ZK_TRY(zk_check_upload(check, dentropy, FLOAT_BYTES(s.rows), (void **)&dentropy_d));
  }
  ZK_TRY(zk_check_host(check, FLOAT_BYTES(num_x), &dx));
  ZK_TRY(zk_check_floats(check, ZK_CHECK_NORMAL, num_w, &dw));
  ZK_TRY(zk_check_upload(check, dlogprob, FLOAT_BYTES(s.rows), (void **)&dlogprob_d));
  ZK_TRY(zk_check_device_elements(check, num_x, &dx_d));
  ZK_TRY(zk_check_upload(check, dw, FLOAT_BYTES(num_w), (void **)&dw_d));
  p.desc.first = data % 2 == 1; // what is in dw_d is as good as 0
  if (p.desc.first) memset(dw, 0, FLOAT_BYTES(num_w));
  ZK_TRY(zk_lmhead_logprob(check->helper, &p.desc, p.x_d, p.w_d, p.packed, p.target_d, &out));
  ZK_TRY(zk_stream_wait(check->helper));
  const float *known = out.lse;
  if (kind == AT_ONCE) ZK_TRY(make_out(check, s.rows, &out));
  ZK_TRY(differentiate(check, &p, &chunks, kind, known, &out, dlogprob_d, dentropy_d, dx_d, dw_d));
  if (kind == AT_ONCE) ZK_TRY(compare_rows(check, &p, &out, NULL));
  ZK_TRY(zk_check_device_elements(check, num_x, &alone_d)); // of a frozen head
  ZK_TRY(differentiate(check, &p, &chunks, kind, known, &out, dlogprob_d, dentropy_d, alone_d, NULL));
  const bool done =
      f32 ? zk_lmhead_reference_backward(&p.desc, &chunks, p.x, p.w, p.target, dlogprob, dentropy, dx, dw)
          : zk_lmhead_reference_bf16_backward(&p.desc, &chunks, p.x_bf16, p.w_bf16, p.target, dlogprob, dentropy, dx, dw);
  if (!done) return ZK_FAIL(ZK_OUT_OF_MEMORY, "check: no memory for the reference of the LM head");
  for (int i = 0; i < 2; i++) {
    const char *what = i == 0 ? "dx" : "dx without dweight";
    const void *got = i == 0 ? dx_d : alone_d;
    ZK_TRY(f32 ? zk_check_compare(check, what, got, dx, num_x) : zk_check_compare_bf16(check, what, got, dx, num_x));
  }
  return zk_check_compare(check, "dweight", dw_d, dw, num_w);
}
static zk_status backward_case(zk_check *check, shape s, distribution d, zk_check_data data) {
  return gradient_case(check, s, d, data, OF_LOGPROBS);
}
static zk_status entropy_case(zk_check *check, shape s, distribution d, zk_check_data data) {
  return gradient_case(check, s, d, data, OF_ENTROPIES);
}
static zk_status loss_case(zk_check *check, shape s, distribution d, zk_check_data data) {
  return gradient_case(check, s, d, data, AT_ONCE);
}

typedef zk_status (*case_function)(zk_check *, shape, distribution, zk_check_data);

// Every distribution and kind of data with the first shape; every shape, distributions and data in turn. The short form: two shapes,
// and of these cases every `share`-th.
static zk_status cases(zk_check *check, case_function run, int share) {
  for (int data = 0; data < ZK_CHECK_NUM_DATA; data++)
    for (int d = 0; d < NUM(distributions); d++)
      if (!check->quick || (d + data) % share == 0) ZK_TRY(run(check, shapes[0], distributions[d], data));
  for (int s = 1; s < (check->quick ? 2 : NUM(shapes)); s++)
    for (int d = 0; d < NUM(distributions); d++)
      if (!check->quick || (s + d) % share == 0) ZK_TRY(run(check, shapes[s], distributions[d], (zk_check_data)((s + d) % ZK_CHECK_NUM_DATA)));
  return ZK_OK;
}
static zk_status all_cases(zk_check *check, case_function run) { return cases(check, run, 3); }
// Gradients are costlier, and a distribution is a factor to them.
static zk_status gradient_cases(zk_check *check, case_function run) { return cases(check, run, ZK_CHECK_NUM_DATA); }

// In f32 both passes at once are the two of them one after the other: the short form takes a few cases.
static zk_status few_loss_cases(zk_check *check) {
  for (int d = 0; d < NUM(distributions); d += 3) ZK_TRY(loss_case(check, shapes[0], distributions[d], ZK_CHECK_NORMAL));
  return ZK_OK;
}

// A vocabulary so long that a launch has several chains of 4,096 ids of dx, and the last one fewer (kernels/cuda/lmhead_dx.cu).
static zk_status all_gradients(zk_check *check, bool at_once) {
  if (at_once && check->quick && check->numerics == ZK_F32) return few_loss_cases(check);
  ZK_TRY(gradient_cases(check, at_once ? loss_case : backward_case));
  if (check->quick || check->numerics == ZK_F32) return ZK_OK;
  return gradient_case(check, (shape){20, 24, 54000}, distributions[0], ZK_CHECK_NORMAL, at_once ? AT_ONCE : OF_LOGPROBS);
}

zk_status zk_check_lmhead_logprob(zk_check *check) { return all_cases(check, logprob_case); }
zk_status zk_check_lmhead_sample(zk_check *check) { return all_cases(check, sample_case); }
zk_status zk_check_lmhead_backward(zk_check *check) { return all_gradients(check, false); }
zk_status zk_check_lmhead_entropy(zk_check *check) { return gradient_cases(check, entropy_case); }
zk_status zk_check_lmhead_loss(zk_check *check) { return all_gradients(check, true); }
