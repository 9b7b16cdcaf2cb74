// Where a model's fp32 weights come from, block by block in global element order: a Hugging Face folder (f32, bf16 or f16 on disk, widened
// exactly; of an adapter's table, PEFT's folder), or nothing but a seed. Working weights and master weights are both filled from one.
#ifndef ZK_SHARED_WEIGHT_SOURCE_H
#define ZK_SHARED_WEIGHT_SOURCE_H

#include "kernels/device.h"
#include "shared/model.h"

typedef struct {
  const zk_model_config *config;
  const zk_params *params;
  uint64_t seed;           // of weights from scratch
  zk_model_reader *reader; // NULL: from scratch
} zk_weight_source;

// `dir` "" : weights from scratch, a function of config and seed. config and params must outlive it; the caller closes it.
zk_status zk_weight_source_open(const char *dir, const zk_model_config *config, const zk_params *params, uint64_t seed, zk_weight_source *out);
void zk_weight_source_close(zk_weight_source *source); // a zeroed one is fine
// Global elements [first, first + count) into flat[count].
zk_status zk_weight_source_read(const zk_weight_source *source, int64_t first, int64_t count, float *flat);
// The same to the device, rounded to what working weights of `numerics` are (bf16 but for f32); `device` is the place of element `first`.
// ZK_F32 makes master weights of any numerics. Waits.
zk_status zk_weight_source_copy(const zk_weight_source *source, zk_stream *stream, zk_numerics numerics, int64_t first, int64_t count, void *device);
// flat[count] as the working weights of `numerics`: bf16 but for f32.
void zk_weights_round(zk_numerics numerics, const float *flat, int64_t count, void *out);

#endif
