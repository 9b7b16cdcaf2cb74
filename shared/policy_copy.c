// Weights of one policy for another that computes in other numerics.
#include <stdlib.h>

#include "kernels/bf16.h"
#include "shared/policy.h"

#define BLOCK ((int64_t)1 << 22) // elements

void zk_policy_lead(zk_policy *policy, zk_policy *follower) { policy->follower = follower; }

static void widen(const zk_bf16 *half, int64_t count, float *out) {
#pragma omp parallel for schedule(static) if (count > 1 << 16)
  for (int64_t i = 0; i < count; i++) out[i] = zk_bf16_to_float(half[i]);
}

// Elements [first, first + count), between an f32 and a bf16 format.
static zk_status convert(const zk_policy *from, zk_stream *stream, zk_policy *to, int64_t first, int64_t count, void *read, void *converted) {
  const size_t in = zk_numerics_bytes(from->numerics), out = zk_numerics_bytes(to->numerics);
  ZK_TRY(zk_copy_to_host(stream, read, (const char *)from->weights + (size_t)first * in, (size_t)count * in));
  ZK_TRY(zk_stream_wait(stream));
  if (from->numerics == ZK_F32) zk_weights_round(to->numerics, read, count, converted);
  else widen(read, count, converted);
  ZK_TRY(zk_copy_to_device(stream, (char *)to->weights + (size_t)first * out, converted, (size_t)count * out));
  return zk_stream_wait(stream);
}

static zk_status convert_all(const zk_policy *from, zk_stream *stream, zk_policy *to) {
  const int64_t n = from->params.num_elements, block = n < BLOCK ? n : BLOCK;
  void *read = malloc((size_t)block * zk_numerics_bytes(from->numerics)), *converted = malloc((size_t)block * zk_numerics_bytes(to->numerics));
  zk_status st = read && converted ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory to give the sampler its weights in other numerics");
  for (int64_t at = 0; at < n && st == ZK_OK; at += block) st = convert(from, stream, to, at, n - at < block ? n - at : block, read, converted);
  free(read);
  free(converted);
  return st;
}

zk_status zk_policy_copy_weights(const zk_policy *from, zk_stream *stream, zk_policy *to) {
  const size_t bytes = zk_numerics_bytes(from->numerics);
  if (bytes != zk_numerics_bytes(to->numerics)) ZK_TRY(convert_all(from, stream, to));
  else ZK_TRY(zk_copy_on_device(stream, to->weights, from->weights, (size_t)from->params.num_elements * bytes));
  return zk_policy_changed(to, stream);
}
