// label: slow; cost: 35
// The linear layers' Hopper kernels (gemm_wgmma.cu, gemm_gradients.cu, gemm_inputs.cu, gemm_decode.cu, gemm_few.cu) on the emulated GPU, each forced: rings
// that wrap around, several tiles a block, clusters that share an operand, tiles that the outputs end in. In every order the CPU's bits, and none stands
// still. It has 4 multiprocessors: two clusters of two blocks.
#include "tests/simt/forced_product.h"

#include "kernels/backend.h"
#include "kernels/linear.h"
#include "kernels/linear_parts.h"
#include "kernels/swiglu.h"

enum { MOST = ZK_LINEAR_MOST_PARTS, MOST_CHUNKS = 6 };
typedef struct {
  int32_t rows, in, out[MOST];
  bool with_norm;
  zk_chunks chunks;
} layers;

static const zk_numerics BF16 = ZK_BF16;
static size_t elements(int32_t rows, int32_t columns) { return (size_t)rows * (size_t)columns; }
static void *random_elements(place *at, size_t n, uint32_t tag) { return upload_random(at, BF16, n, tag); }
static void *room(place *at, size_t n) { return upload_nan(at, 2 * n); }

// A layer with bias and residual, and one without.
static void forward(place *at, const void *problem, char **result, size_t *size) {
  const layers *p = problem;
  const zk_linear_desc desc = {BF16, p->rows, p->in, p->out[0]};
  const size_t n = elements(p->rows, p->out[0]);
  const void *x = random_elements(at, elements(p->rows, p->in), 1),
             *w = random_elements(at, elements(p->out[0], p->in), 2), *bias = random_elements(at, (size_t)p->out[0], 3),
             *addend = random_elements(at, n, 4);
  for (int more = 0; more < 2; more++) {
    void *y = room(at, n);
    OK(zk_linear_forward(at->stream, &desc, x, w, NULL, more ? bias : NULL, more ? addend : NULL, y));
    keep(at, y, 2 * n, result, size);
  }
}

static zk_linear_parts make_parts(place *at, const layers *p, int num_parts, bool with_bias) {
  zk_linear_parts parts = {.numerics = BF16, .num_rows = p->rows, .in_features = p->in, .num_parts = num_parts};
  for (int i = 0; i < num_parts; i++)
    parts.parts[i] =
        (zk_linear_part){p->out[i], random_elements(at, elements(p->out[i], p->in), 10 + (uint32_t)i), NULL,
                         with_bias && i != 1 ? random_elements(at, (size_t)p->out[i], 20 + (uint32_t)i) : NULL,
                         room(at, elements(p->rows, p->out[i]))};
  if (p->with_norm)
    parts.norm = (zk_linear_norm){random_elements(at, (size_t)p->in, 30), 1e-5f, room(at, elements(p->rows, p->in))};
  return parts;
}

// As one launch: one after another is another test.
static void several_parts(place *at, const void *problem, char **result, size_t *size) {
  const layers *p = problem;
  const void *x = random_elements(at, elements(p->rows, p->in), 1);
  const zk_linear_parts parts = make_parts(at, p, MOST, true);
  bool done = false;
  if (is_emulated(at)) OK(zk_cuda_linear_parts_fused(at->stream, &parts, x, &done));
  else OK(zk_linear_parts_forward(at->stream, &parts, x));
  assert_int_equal(done, is_emulated(at));
  for (int i = 0; i < MOST; i++) keep(at, parts.parts[i].y, 2 * elements(p->rows, p->out[i]), result, size);
}

static void swiglu(place *at, const layers *p, bool keeps, char **result, size_t *size) {
  const size_t n = elements(p->rows, p->out[0]);
  const void *x = random_elements(at, elements(p->rows, p->in), 1);
  const layers alike = {p->rows, p->in, {p->out[0], p->out[0]}, p->with_norm, p->chunks};
  zk_linear_parts parts = make_parts(at, &alike, 2, false);
  void *out = room(at, n);
  bool done = false;
  parts.keeps = keeps;
  if (is_emulated(at)) OK(zk_cuda_linear_swiglu_fused(at->stream, &parts, x, out, &done));
  else OK(zk_linear_parts_swiglu(at->stream, &parts, x, out));
  assert_int_equal(done, is_emulated(at));
  keep(at, out, 2 * n, result, size);
  for (int i = 0; keeps && i < 2; i++) keep(at, parts.parts[i].y, 2 * n, result, size);
}
static void swiglu_alone(place *at, const void *problem, char **result, size_t *size) {
  swiglu(at, problem, false, result, size);
}
static void swiglu_kept(place *at, const void *problem, char **result, size_t *size) {
  swiglu(at, problem, true, result, size);
}

static zk_linear_back_parts make_back_parts(place *at, const layers *p, int num_parts, bool first) {
  zk_linear_back_parts parts = {BF16, p->rows, p->in, num_parts, {{0}}, first};
  for (int i = 0; i < num_parts; i++)
    parts.parts[i] =
        (zk_linear_back_part){p->out[i], random_elements(at, elements(p->rows, p->out[i]), 40 + (uint32_t)i),
                              random_elements(at, elements(p->out[i], p->in), 50 + (uint32_t)i),
                              first ? upload_nan(at, 4 * elements(p->out[i], p->in))
                                    : upload_random(at, ZK_F32, elements(p->out[i], p->in), 60 + (uint32_t)i),
                              NULL};
  return parts;
}

static void backward_input(place *at, const void *problem, char **result, size_t *size) {
  const layers *p = problem;
  const zk_linear_back_parts parts = make_back_parts(at, p, 1, false);
  const zk_linear_desc desc = {BF16, p->rows, p->in, p->out[0]};
  const size_t n = elements(p->rows, p->in);
  void *dx = random_elements(at, n, 5);
  OK(zk_linear_backward_input(at->stream, &desc, parts.parts[0].dy, parts.parts[0].weight, dx, dx));
  keep(at, dx, 2 * n, result, size);
}
static void backward_weight(place *at, const void *problem, char **result, size_t *size) {
  const layers *p = problem;
  const zk_linear_back_parts parts = make_back_parts(at, p, 1, false);
  const zk_linear_desc desc = {BF16, p->rows, p->in, p->out[0]};
  const void *x = random_elements(at, elements(p->rows, p->in), 1);
  OK(zk_linear_backward_weight(at->stream, &desc, &p->chunks, parts.parts[0].dy, x, parts.parts[0].dweight, NULL));
  keep(at, parts.parts[0].dweight, 4 * elements(p->out[0], p->in), result, size);
}

// What several layers share: dx as one launch, or their weights' gradients.
static void shared_input(place *at, const void *problem, char **result, size_t *size) {
  const layers *p = problem;
  const zk_linear_back_parts parts = make_back_parts(at, p, MOST, false);
  const size_t n = elements(p->rows, p->in);
  void *dx = room(at, n);
  bool done = false;
  if (is_emulated(at)) OK(zk_cuda_linear_parts_input_fused(at->stream, &parts, dx, &done));
  else OK(zk_linear_parts_backward(at->stream, &parts, &p->chunks, random_elements(at, n, 1), dx));
  assert_int_equal(done, is_emulated(at));
  keep(at, dx, 2 * n, result, size);
}
static void shared_weights(place *at, const layers *p, bool first, char **result, size_t *size) {
  const zk_linear_back_parts parts = make_back_parts(at, p, MOST, first);
  const size_t n = elements(p->rows, p->in);
  const void *x = random_elements(at, n, 1);
  bool done = false;
  if (is_emulated(at)) OK(zk_cuda_linear_parts_weight_fused(at->stream, &parts, &p->chunks, x, &done));
  else OK(zk_linear_parts_backward(at->stream, &parts, &p->chunks, x, room(at, n)));
  assert_int_equal(done, is_emulated(at));
  for (int i = 0; i < MOST; i++) keep(at, parts.parts[i].dweight, 4 * elements(p->out[i], p->in), result, size);
}
static void weights_added(place *at, const void *problem, char **result, size_t *size) {
  shared_weights(at, problem, false, result, size);
}
static void weights_set(place *at, const void *problem, char **result, size_t *size) {
  shared_weights(at, problem, true, result, size);
}

#define AGREES(variant, orders, run, ...)                                                                              \
  do {                                                                                                                 \
    const layers of_ = __VA_ARGS__;                                                                                    \
    kernel_agrees(ZK_CUDA_GEMM_BF16_##variant, orders, run, &of_, #run " " #__VA_ARGS__);                              \
  } while (0)

// Two rows of tiles, of which the second one's second block has none, and slices that the rings' lengths do not divide.
static void tiles_of_every_shape(void **state) {
  AGREES(WGMMA_SMALL, 8, forward, {.rows = 333, .in = 712, .out = {136}});
  AGREES(WGMMA_64, 8, forward, {.rows = 205, .in = 520, .out = {264}});
  AGREES(WGMMA_96, 8, forward, {.rows = 301, .in = 200, .out = {200}});
  AGREES(WGMMA_128, 8, forward, {.rows = 300, .in = 200, .out = {264}});
  AGREES(WGMMA_192, 6, forward, {.rows = 257, .in = 328, .out = {392}});
  AGREES(WGMMA_256, 8, forward, {.rows = 383, .in = 200, .out = {264}});
  AGREES(WGMMA_TURNS, 8, forward, {.rows = 385, .in = 264, .out = {264}});
  AGREES(WGMMA_TURNS, 12, forward, {.rows = 70, .in = 8, .out = {1096}}); // one slice, and an odd number of tiles
}

static void parts_of_one_launch(void **state) {
  AGREES(WGMMA_SMALL, 4, several_parts, {.rows = 130, .in = 136, .out = {72, 64, 8}});
  AGREES(WGMMA_64, 4, several_parts, {.rows = 100, .in = 72, .out = {136, 128, 8}});
  AGREES(WGMMA_96, 4, several_parts, {.rows = 260, .in = 72, .out = {104, 8, 96}});
  AGREES(WGMMA_128, 4, several_parts, {.rows = 260, .in = 72, .out = {136, 128, 8}});
  AGREES(WGMMA_192, 4, several_parts, {.rows = 100, .in = 72, .out = {200, 192, 8}});
  AGREES(WGMMA_256, 4, several_parts, {.rows = 100, .in = 72, .out = {264, 8, 256}});
  AGREES(WGMMA_TURNS, 8, several_parts, {.rows = 260, .in = 136, .out = {136, 128, 8}});
}

static void swiglu_of_gate_and_up(void **state) {
  AGREES(WGMMA_96, 6, swiglu_alone, {.rows = 140, .in = 200, .out = {136}});
  AGREES(WGMMA_128, 6, swiglu_alone, {.rows = 260, .in = 136, .out = {72}});
  AGREES(WGMMA_TURNS, 8, swiglu_alone, {.rows = 260, .in = 136, .out = {200}});
  AGREES(WGMMA_TURNS, 8, swiglu_kept, {.rows = 140, .in = 72, .out = {328}});
}

static const int32_t starts[MOST_CHUNKS + 1] = {0, 1, 101, 101, 165, 296, 300};
#define CHUNKS .chunks = {MOST_CHUNKS, starts}

static void gradients_of_inputs(void **state) {
  AGREES(WGMMA_256, 6, backward_input, {.rows = 385, .in = 264, .out = {200}});
  AGREES(WGMMA_TURNS, 8, backward_input, {.rows = 300, .in = 264, .out = {200}});
  AGREES(WGMMA_256, 8, shared_input, {.rows = 300, .in = 264, .out = {136, 8, 72}, CHUNKS});
}

static void gradients_of_weights(void **state) {
  AGREES(WGMMA_192, 4, backward_weight, {.rows = 300, .in = 200, .out = {264}, CHUNKS});
  AGREES(WGMMA_TURNS, 4, backward_weight, {.rows = 300, .in = 136, .out = {264}, CHUNKS});
  AGREES(WGMMA_SUMS, 6, weights_added, {.rows = 300, .in = 264, .out = {264, 72, 136}, CHUNKS});
  AGREES(WGMMA_SUMS_192, 4, weights_set, {.rows = 300, .in = 200, .out = {72, 264, 96}, CHUNKS});
  AGREES(WGMMA_SUMS_256, 6, weights_added, {.rows = 300, .in = 264, .out = {136, 72, 128}, CHUNKS});
  AGREES(WGMMA_SUMS_256, 4, weights_set, {.rows = 300, .in = 520, .out = {72, 136, 96}, CHUNKS});
}

static void few_tokens(void **state) {
  AGREES(DECODE, 8, forward, {.rows = 5, .in = 520, .out = {1306}}); // tiles of 128, one group of 8 rows stands for all
  AGREES(DECODE, 8, forward, {.rows = 37, .in = 576, .out = {1306}}); // folded: a stage to a copy
  AGREES(DECODE, 6, forward, {.rows = 128, .in = 1096, .out = {130}});
  AGREES(DECODE, 6, several_parts, {.rows = 100, .in = 200, .out = {600, 66, 2}});
  AGREES(DECODE, 6, several_parts, {.rows = 3, .in = 72, .out = {34, 16, 2}});
  AGREES(DECODE, 6, swiglu_alone, {.rows = 70, .in = 328, .out = {610}});
  AGREES(DECODE, 6, swiglu_alone, {.rows = 8, .in = 192, .out = {50}});
}

static void a_token_or_some(void **state) {
  AGREES(FEW, 6, forward, {.rows = 1, .in = 1088, .out = {1037}});
  AGREES(FEW, 4, forward, {.rows = 8, .in = 4096, .out = {518}}); // little room for the ring
  AGREES(FEW, 6, several_parts, {.rows = 3, .in = 320, .out = {200, 37, 5}, .with_norm = true});
  AGREES(FEW, 6, several_parts, {.rows = 1, .in = 576, .out = {96, 40, 8}, .with_norm = true});
  AGREES(FEW, 6, swiglu_alone, {.rows = 7, .in = 832, .out = {642}, .with_norm = true});
  AGREES(FEW, 6, swiglu_alone, {.rows = 1, .in = 64, .out = {10}});
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(tiles_of_every_shape),  cmocka_unit_test(parts_of_one_launch),
      cmocka_unit_test(swiglu_of_gate_and_up), cmocka_unit_test(gradients_of_inputs),
      cmocka_unit_test(gradients_of_weights),  cmocka_unit_test(few_tokens),
      cmocka_unit_test(a_token_or_some),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
