// Kernels that may begin before the one ahead of them has ended (programmatic dependent launch) give what they give one after the other: a chain
// of layers forwards and of MLPs backwards, each reading what the last has only begun to write, in buffers that every round writes
// again. A round forwards is an engine's step: it begins when all ahead of it has ended, since keys of earlier steps are read before that. The parts
// run where no fault reaches: a fault is named by its own operation.
#include <stdbool.h>
#include <stdio.h>

#include "kernels/check_case.h"
#include "kernels/linear.h"
#include "kernels/linear_parts.h"
#include "kernels/rmsnorm.h"
#include "kernels/rope_attention.h"
#include "kernels/swiglu.h"

#ifdef ZK_WITH_CUDA
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/overlap.h"
#endif

enum { HIDDEN = 256, INNER = 768, HEADS = 4, KV_HEADS = 2, DIM = 128, PAGE = 32, LAYERS = 2, ROUNDS = 12, PAGES = 1 }; // a page holds all rounds

#define NUM(a) (int)(sizeof(a) / sizeof((a)[0]))

typedef struct {
  void *norm, *wq, *wk, *wv, *wo, *gate, *up, *down; // norm is of both norms and of the heads
  float *cosines, *sines;
  int32_t *ints; // row starts, then positions of each round, then page table
} weights;

// What a chain writes. x goes through all rounds, and dx likewise; the rest is written anew in each.
typedef struct {
  void *x, *dx, *k_cache[LAYERS], *v_cache[LAYERS], *kept_gate, *kept_up;
  void *normed, *q, *k, *v, *a, *gate_out, *up_out, *act, *dact, *dgate, *dup, *dnormed;
  float *rstd, *dnorm, *dgate_weight;
} tensors;

typedef struct {
  zk_check *check;
  int32_t rows;
  weights w;
} problem;

static zk_status draw(zk_check *check, int64_t n, float scale, void **out) {
  float *x;
  ZK_TRY(zk_check_elements(check, ZK_CHECK_NORMAL, n, &x));
  for (int64_t i = 0; i < n; i++) x[i] *= scale; // a power of two: still what the numerics store
  return zk_check_upload_elements(check, x, n, out);
}

static zk_status make_weights(problem *p) {
  zk_check *check = p->check;
  const float small = 0x1p-5f; // outputs of about one from inputs of about one
  int32_t *ints;
  const struct {
    int64_t n;
    float scale;
    void **out;
  } all[] = {{HIDDEN, 1.0f, &p->w.norm},
             {HEADS * DIM * HIDDEN, small, &p->w.wq},
             {KV_HEADS * DIM * HIDDEN, small, &p->w.wk},
             {KV_HEADS * DIM * HIDDEN, small, &p->w.wv},
             {HIDDEN * HEADS * DIM, small, &p->w.wo},
             {INNER * HIDDEN, small, &p->w.gate},
             {INNER * HIDDEN, small, &p->w.up},
             {HIDDEN * INNER, small, &p->w.down}};
  for (int i = 0; i < NUM(all); i++) ZK_TRY(draw(check, all[i].n, all[i].scale, all[i].out));
  float *angles;
  ZK_TRY(zk_check_floats(check, ZK_CHECK_NORMAL, ROUNDS * DIM, &angles));
  ZK_TRY(zk_check_upload(check, angles, ROUNDS * DIM * sizeof *angles, (void **)&p->w.cosines));
  p->w.sines = p->w.cosines + ROUNDS * DIM / 2;
  const int32_t n = p->rows, total = n + 1 + ROUNDS * n + n * PAGES;
  ZK_TRY(zk_check_host(check, (size_t)total * sizeof *ints, (void **)&ints));
  for (int32_t i = 0; i <= n; i++) ints[i] = i;
  for (int32_t i = 0; i < ROUNDS * n; i++) ints[n + 1 + i] = i / n;
  for (int32_t i = 0; i < n * PAGES; i++) ints[n + 1 + ROUNDS * n + i] = n * PAGES - 1 - i;
  return zk_check_upload(check, ints, (size_t)total * sizeof *ints, (void **)&p->w.ints);
}

static zk_attention_desc attention_of(const problem *p) {
  return (zk_attention_desc){p->check->numerics, HEADS, KV_HEADS, DIM, PAGE, 0x1p-4f};
}

static zk_status make_tensors(const problem *p, const void *x, const void *kept, tensors *t) {
  zk_check *check = p->check;
  const int64_t n = p->rows;
  const zk_attention_desc attention = attention_of(p);
  const struct {
    int64_t width;
    void **out;
  } all[] = {{HIDDEN, &t->x},     {HIDDEN, &t->dx},           {HIDDEN, &t->normed},       {HEADS * DIM, &t->q}, {KV_HEADS * DIM, &t->k},
             {KV_HEADS * DIM, &t->v}, {HEADS * DIM, &t->a},   {INNER, &t->gate_out},      {INNER, &t->up_out},  {INNER, &t->act},
             {INNER, &t->dact},   {INNER, &t->dgate},         {INNER, &t->dup},           {HIDDEN, &t->dnormed}};
  for (int i = 0; i < NUM(all); i++) ZK_TRY(zk_check_device_elements(check, n * all[i].width, all[i].out));
  const size_t cache = zk_kv_cache_bytes(check->device, &attention, p->rows * PAGES), element = zk_numerics_bytes(check->numerics);
  for (int l = 0; l < LAYERS; l++) {
    ZK_TRY(zk_check_device(check, cache, &t->k_cache[l]));
    ZK_TRY(zk_check_device(check, cache, &t->v_cache[l]));
  }
  ZK_TRY(zk_check_device(check, (size_t)n * sizeof(float), (void **)&t->rstd));
  ZK_TRY(zk_check_device(check, HIDDEN * sizeof(float), (void **)&t->dnorm));
  ZK_TRY(zk_check_device(check, INNER * HIDDEN * sizeof(float), (void **)&t->dgate_weight));
  t->kept_gate = (void *)kept, t->kept_up = (char *)kept + (size_t)(n * INNER) * element;
  ZK_TRY(zk_copy_on_device(check->helper, t->x, x, (size_t)(n * HIDDEN) * element));
  return zk_copy_on_device(check->helper, t->dx, x, (size_t)(n * HIDDEN) * element);
}

// A layer of one more token of each sequence.
static zk_status layer(const problem *p, zk_stream *s, const tensors *t, int32_t round, int l) {
  const zk_numerics numerics = p->check->numerics;
  const int32_t n = p->rows, *positions = p->w.ints + n + 1 + round * n;
  const zk_attention_batch batch = {n, n, PAGES, p->w.ints, positions, p->w.ints + n + 1 + ROUNDS * n, NULL};
  const zk_rope_cache_desc rope = {attention_of(p), p->w.norm, p->w.norm, 1e-6f, positions, p->w.cosines, p->w.sines};
  const zk_rope_cache_io io = {t->q, t->k, t->v, t->q, t->k, NULL, NULL, t->k_cache[l], t->v_cache[l]};
  const zk_linear_norm norm = {p->w.norm, 1e-6f, t->normed};
  const zk_linear_parts qkv = {numerics, n, HIDDEN, 3,
                               {{HEADS * DIM, p->w.wq, NULL, NULL, t->q}, {KV_HEADS * DIM, p->w.wk, NULL, NULL, t->k}, {KV_HEADS * DIM, p->w.wv, NULL, NULL, t->v}},
                               norm, false};
  const zk_linear_parts mlp = {numerics, n, HIDDEN, 2, {{INNER, p->w.gate, NULL, NULL, t->gate_out}, {INNER, p->w.up, NULL, NULL, t->up_out}}, norm, false};
  const zk_linear_desc o = {numerics, n, HEADS * DIM, HIDDEN}, down = {numerics, n, INNER, HIDDEN};
  ZK_TRY(zk_linear_parts_forward(s, &qkv, t->x));
  ZK_TRY(zk_rope_attention(s, &rope, &batch, &io, t->a, NULL));
  ZK_TRY(zk_linear_forward(s, &o, t->a, p->w.wo, NULL, NULL, t->x, t->x));
  ZK_TRY(zk_linear_parts_swiglu(s, &mlp, t->x, t->act));
  return zk_linear_forward(s, &down, t->act, p->w.down, NULL, NULL, t->x, t->x);
}

// All layers, behind a copy, which no kernel overlaps.
static zk_status step(const problem *p, zk_stream *s, const tensors *t, int32_t round) {
  ZK_TRY(zk_copy_on_device(s, t->rstd, p->w.cosines, sizeof *t->rstd));
  for (int l = 0; l < LAYERS; l++) ZK_TRY(layer(p, s, t, round, l));
  return ZK_OK;
}

// An MLP backwards, at gate and up that stay as they are.
static zk_status mlp_backward(const problem *p, zk_stream *s, const tensors *t) {
  const zk_numerics numerics = p->check->numerics;
  const int32_t n = p->rows, starts[] = {0, n};
  const zk_chunks chunks = {1, starts};
  const zk_linear_desc wide = {numerics, n, HIDDEN, INNER}, down = {numerics, n, INNER, HIDDEN};
  const zk_rmsnorm_desc norm = {numerics, n, 1, HIDDEN, 1e-6f};
  ZK_TRY(zk_linear_backward_input(s, &down, t->dx, p->w.down, NULL, t->dact));
  ZK_TRY(zk_swiglu_backward(s, numerics, (int64_t)n * INNER, t->kept_gate, t->kept_up, t->dact, t->dgate, t->dup));
  ZK_TRY(zk_linear_backward_input(s, &wide, t->dgate, p->w.gate, NULL, t->dnormed));
  ZK_TRY(zk_linear_backward_input(s, &wide, t->dup, p->w.up, t->dnormed, t->dnormed));
  ZK_TRY(zk_linear_backward_weight(s, &wide, &chunks, t->dgate, t->dx, t->dgate_weight, NULL));
  ZK_TRY(zk_rmsnorm_forward(s, &norm, t->dnormed, p->w.norm, t->dnormed, t->rstd)); // keeps gradients near one through all rounds
  return zk_rmsnorm_backward(s, &norm, &chunks, t->dnormed, t->x, p->w.norm, t->rstd, t->dx, t->dx, t->dnorm);
}

static zk_status run_chain(const problem *p, zk_stream *s, const tensors *t, bool overlap) {
  zk_status status = ZK_OK;
#ifdef ZK_WITH_CUDA
  const bool on_gpu = zk_device_get_kind(p->check->device) == ZK_DEVICE_CUDA;
  if (on_gpu) zk_cuda_set_overlap(s, overlap);
#endif
  for (int32_t round = 0; round < ROUNDS && status == ZK_OK; round++) status = step(p, s, t, round);
  for (int32_t round = 0; round < ROUNDS && status == ZK_OK; round++) status = mlp_backward(p, s, t);
  if (status == ZK_OK) status = zk_stream_wait(s);
#ifdef ZK_WITH_CUDA
  if (on_gpu) zk_cuda_set_overlap(s, false);
#endif
  return status;
}

zk_status zk_check_overlap_case(zk_check *check, int32_t rows) {
  problem p = {.check = check, .rows = rows};
  tensors got, want;
  void *x, *kept;
  zk_check_case(check, "%d steps of %d layers, and MLPs backwards, rows %d", ROUNDS, LAYERS, rows);
  ZK_TRY(make_weights(&p));
  ZK_TRY(draw(check, (int64_t)rows * HIDDEN, 1.0f, &x));
  ZK_TRY(draw(check, (int64_t)rows * INNER * 2, 1.0f, &kept));
  ZK_TRY(make_tensors(&p, x, kept, &got));
  ZK_TRY(make_tensors(&p, x, kept, &want));
  ZK_TRY(zk_stream_wait(check->helper));
  ZK_TRY(run_chain(&p, check->fused, &got, true));
  ZK_TRY(run_chain(&p, check->helper, &want, false));
  const zk_attention_desc attention = attention_of(&p);
  const size_t bytes = (size_t)rows * HIDDEN * zk_numerics_bytes(check->numerics), cache = zk_kv_cache_bytes(check->device, &attention, rows * PAGES);
  ZK_TRY(zk_check_compare_devices(check, "x", got.x, want.x, bytes));
  for (int l = 0; l < LAYERS; l++) {
    ZK_TRY(zk_check_compare_devices(check, "k_cache", got.k_cache[l], want.k_cache[l], cache));
    ZK_TRY(zk_check_compare_devices(check, "v_cache", got.v_cache[l], want.v_cache[l], cache));
  }
  ZK_TRY(zk_check_compare_devices(check, "dx", got.dx, want.dx, bytes));
  ZK_TRY(zk_check_compare_devices(check, "dnorm", got.dnorm, want.dnorm, HIDDEN * sizeof(float)));
  return zk_check_compare_devices(check, "dgate_weight", got.dgate_weight, want.dgate_weight, INNER * HIDDEN * sizeof(float));
}

zk_status zk_check_overlap(zk_check *check) {
  static const int32_t rows[] = {1, 5, 64, 300, 1500}; // each step of the choice of kernels
  if (check->quick || zk_device_get_kind(check->device) == ZK_DEVICE_CPU) return ZK_OK; // whose calls end before the next begins
  int num_cases = 1; // where nothing overlaps
#ifdef ZK_WITH_CUDA
  if (zk_cuda_gemm_available(ZK_CUDA_GEMM_BF16_WGMMA_TURNS)) num_cases = NUM(rows);
#endif
  for (int i = 0; i < num_cases; i++) ZK_TRY(zk_check_overlap_case(check, rows[i]));
  return ZK_OK;
}
