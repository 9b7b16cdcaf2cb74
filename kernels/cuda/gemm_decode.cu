// Linear layers of a few tokens: which shape of launch a product gets, and what becomes of its outputs.
#include "kernels/cuda/gemm.h"

#include "kernels/cuda/gemm_decode_launch.cuh"
#include "kernels/cuda/gemm_decode_store.cuh"

// Two neighbouring outputs are stored, and their addends read, by one access.
bool zk_cuda_gemm_bf16_decode_valid(const zk_cuda_gemm *g) {
  const uintptr_t pair = g->c_as == ZK_BF16 ? 4 : 8;
  return g->m <= ZK_DECODE_MOST_TOKENS && g->k > 0 && !g->a_outer && !g->b_outer && g->a_wide && g->b_wide &&
         g->c != NULL && g->n % 2 == 0 && g->ldc % 2 == 0 && (uintptr_t)g->c % pair == 0 &&
         (uintptr_t)g->bias % 4 == 0 &&
         (g->addend == NULL || (g->addend_as == g->c_as && g->ldaddend % 2 == 0 && (uintptr_t)g->addend % pair == 0));
}

// Measured on an H200. Weights that fill the rings a few times over are a matter of latency: small tiles, two blocks an SM,
// so that the next kernel's weights are on their way while this one's steps run. More of them are a stream: a tile an SM,
// up to 64 rows, then two of up to 96; a vocabulary in tiles of 128.
static zk_decode_tuning tune(const zk_decode_product &p, int num_sms) {
  static const int sizes[] = {96, 64, 48, 32, 24, 16};
  enum { LATENCY_BYTES = 16 << 20 };
  int64_t n = 0;
  for (int part = 0; part < p.num_parts; part++) n += p.n[part];
  if (n > 2 * sizes[0] * num_sms) return {128, p.m <= 16 ? ZK_DECODE_HALF_KIB : ZK_DECODE_ALL_KIB};
  const bool two = n > 64 * num_sms || (p.m <= 8 && n * p.k * 2 <= LATENCY_BYTES);
  zk_decode_tuning t = {sizes[0], two ? ZK_DECODE_HALF_KIB : ZK_DECODE_ALL_KIB};
  for (int rows : sizes)
    if ((!p.halves || rows % 16 == 0) && zk_decode_tiles(p, rows) <= (two ? 2 : 1) * num_sms) t.rows = rows;
  return t;
}

template <class T>
static zk_decode_product describe(const zk_cuda_gemm *g, int num_parts, zk_decode_store<T> *store) {
  zk_decode_product p = {g->a, g->m, g->k, g->lda, g->ldb, num_parts};
  store->num_tokens = (int32_t)g->m;
  for (int part = 0; part < num_parts; part++) {
    const zk_cuda_gemm &of = g[part];
    p.w[part] = of.b, p.n[part] = of.n;
    store->to[part] = {(const zk_bf16 *)of.bias, (const T *)of.addend, (T *)of.c, of.ldaddend, of.ldc, (int32_t)of.n};
  }
  return p;
}

#define CASE(rows)                                                                                                     \
  case rows:                                                                                                           \
    return zk_decode_launch<rows>(stream, p, tuning, store);

zk_status zk_cuda_gemm_bf16_decode(zk_stream *stream, const zk_cuda_gemm *g, int num_parts) {
  if (g->c_as == ZK_F32) { // stored logits
    zk_decode_store<float> store = {};
    const zk_decode_product p = describe(g, num_parts, &store);
    return zk_decode_launch<128>(stream, p, {128, ZK_DECODE_HALF_KIB}, store);
  }
  zk_decode_store<zk_bf16> store = {};
  const zk_decode_product p = describe(g, num_parts, &store);
  const zk_decode_tuning tuning = tune(p, zk_cuda_num_sms(zk_stream_device(stream)));
  switch (tuning.rows) {
    CASE(128) CASE(96) CASE(64) CASE(48) CASE(32) CASE(24) CASE(16)
  default:
    return ZK_FAIL(ZK_INTERNAL, "no kernel for a product of %lld weight rows", (long long)g->n);
  }
}

zk_status zk_cuda_gemm_bf16_decode_swiglu(zk_stream *stream, const zk_cuda_gemm *gate, const void *up) {
  const zk_decode_store_swiglu store = {(zk_bf16 *)gate->c, gate->ldc, (int32_t)gate->n, (int32_t)gate->m};
  const zk_decode_product p = {gate->a,  gate->m, gate->k, gate->lda, gate->ldb,
                               2, {gate->b, up}, {gate->n, gate->n}, true};
  const zk_decode_tuning tuning = tune(p, zk_cuda_num_sms(zk_stream_device(stream)));
  switch (tuning.rows) {
    CASE(128) CASE(96) CASE(64) CASE(48) CASE(32) CASE(16)
  default:
    return ZK_FAIL(ZK_INTERNAL, "no kernel for a product of %lld weight rows", (long long)gate->n);
  }
}
