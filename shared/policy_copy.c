// Weights of one policy for another that computes in other numerics, or with coarser weights.
#include <stdlib.h>

#include "kernels/bf16.h"
#include "shared/policy.h"

#define BLOCK ((int64_t)1 << 22) // elements

void zk_policy_lead(zk_policy *policy, zk_policy *follower, int weight_bits) {
  policy->follower = follower;
  follower->weight_bits = weight_bits;
}

static void widen(const zk_bf16 *half, int64_t count, float *out) {
#pragma omp parallel for schedule(static) if (count > 1 << 16)
  for (int64_t i = 0; i < count; i++) out[i] = zk_bf16_to_float(half[i]);
}

// Rounds to `bits` bits behind the leading one, halves to even. What is rounded up past its last bit carries into the exponent; infinities and NaN stay.
static void coarsen(int bits, int64_t count, float *flat) {
  const int dropped = 23 - bits;
  const uint32_t below_half = (UINT32_C(1) << (dropped - 1)) - 1, mask = ~((UINT32_C(1) << dropped) - 1);
#pragma omp parallel for schedule(static) if (count > 1 << 16)
  for (int64_t i = 0; i < count; i++) {
    const uint32_t u = zk_float_bits(flat[i]), rounded = (u + below_half + (u >> dropped & 1)) & mask;
    flat[i] = zk_bits_float((u & 0x7f800000u) == 0x7f800000u ? u : rounded);
  }
}

// Room for a block of elements in each form that it takes on its way.
typedef struct {
  void *stored; // as `from` has them
  float *flat;
  void *rounded; // to another format than f32
} stages;

// Elements [first, first + count).
static zk_status convert(const zk_policy *from, zk_stream *stream, zk_policy *to, int64_t first, int64_t count, const stages *s) {
  const size_t in = zk_numerics_bytes(from->numerics), out = zk_numerics_bytes(to->numerics);
  float *flat = from->numerics == ZK_F32 ? s->stored : s->flat;
  ZK_TRY(zk_copy_to_host(stream, s->stored, (const char *)from->weights + (size_t)first * in, (size_t)count * in));
  ZK_TRY(zk_stream_wait(stream));
  if (flat != s->stored) widen(s->stored, count, flat);
  if (to->weight_bits > 0) coarsen(to->weight_bits, count, flat);
  const void *converted = to->numerics == ZK_F32 ? (void *)flat : s->rounded;
  if (converted != flat) zk_weights_round(to->numerics, flat, count, s->rounded);
  ZK_TRY(zk_copy_to_device(stream, (char *)to->weights + (size_t)first * out, converted, (size_t)count * out));
  return zk_stream_wait(stream);
}

static zk_status convert_all(const zk_policy *from, zk_stream *stream, zk_policy *to) {
  const int64_t n = from->params.num_elements, block = n < BLOCK ? n : BLOCK;
  const stages s = {malloc((size_t)block * zk_numerics_bytes(from->numerics)), malloc((size_t)block * sizeof(float)),
                    malloc((size_t)block * zk_numerics_bytes(to->numerics))};
  zk_status st = s.stored && s.flat && s.rounded ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory to give the sampler its weights in another form");
  for (int64_t at = 0; at < n && st == ZK_OK; at += block) st = convert(from, stream, to, at, n - at < block ? n - at : block, &s);
  free(s.stored);
  free(s.flat);
  free(s.rounded);
  return st;
}

zk_status zk_policy_copy_weights(const zk_policy *from, zk_stream *stream, zk_policy *to) {
  const size_t bytes = zk_numerics_bytes(from->numerics);
  if (bytes != zk_numerics_bytes(to->numerics) || to->weight_bits > 0) ZK_TRY(convert_all(from, stream, to));
  else ZK_TRY(zk_copy_on_device(stream, to->weights, from->weights, (size_t)from->params.num_elements * bytes));
  return zk_policy_changed(to, stream);
}
