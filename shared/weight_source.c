// Reading, rounding and sending weights in blocks, so that no model is ever whole in host memory.
#include "shared/weight_source.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/bf16.h"
#include "shared/adapter.h"

#define BLOCK ((int64_t)1 << 22) // elements
#define INIT_STD 0.02

zk_status zk_weight_source_open(const char *dir, const zk_model_config *config, const zk_params *params, uint64_t seed, zk_weight_source *out) {
  *out = (zk_weight_source){.config = config, .params = params, .seed = seed};
  return dir[0] ? zk_model_reader_open(dir, params, &out->reader) : ZK_OK;
}

void zk_weight_source_close(zk_weight_source *source) {
  zk_model_reader_close(source->reader);
  source->reader = NULL;
}

zk_status zk_weight_source_read(const zk_weight_source *s, int64_t first, int64_t count, float *flat) {
  if (s->reader) return zk_model_reader_read(s->reader, first, count, flat);
  if (zk_params_is_adapter(s->params)) zk_adapter_init_range(s->params, s->seed, first, count, flat);
  else zk_model_init_range(s->config, s->params, s->seed, INIT_STD, first, count, flat);
  return ZK_OK;
}

void zk_weights_round(zk_numerics numerics, const float *flat, int64_t count, void *out) {
  zk_bf16 *half = out;
  if (numerics == ZK_F32) {
    memcpy(out, flat, (size_t)count * sizeof *flat);
    return;
  }
#pragma omp parallel for schedule(static) if (count > 1 << 16)
  for (int64_t i = 0; i < count; i++) half[i] = zk_float_to_bf16(flat[i]);
}

zk_status zk_weight_source_copy(const zk_weight_source *s, zk_stream *stream, zk_numerics numerics, int64_t first, int64_t count, void *device) {
  if (!s->reader && !zk_params_is_adapter(s->params))
    return zk_model_init_device(stream, numerics, s->config, s->params, s->seed, INIT_STD, first, count, device);
  const size_t element = zk_numerics_bytes(numerics), block = (size_t)(count < BLOCK ? count + 1 : BLOCK);
  float *host = malloc(block * sizeof *host);
  char *rounded = malloc(block * element);
  zk_status st = host && rounded ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory to read weights");
  for (int64_t at = 0; at < count && st == ZK_OK; at += BLOCK) {
    int64_t n = count - at < BLOCK ? count - at : BLOCK;
    st = zk_weight_source_read(s, first + at, n, host);
    if (st == ZK_OK) zk_weights_round(numerics, host, n, rounded);
    if (st == ZK_OK) st = zk_copy_to_device(stream, (char *)device + (size_t)at * element, rounded, (size_t)n * element);
    if (st == ZK_OK) st = zk_stream_wait(stream);
  }
  free(host);
  free(rounded);
  return st;
}
