// A model on disk: a Hugging Face folder (config.json, generation_config.json, safetensors, tokenizer files), read into
// and written from one flat float vector in global element order (shared/params.h).
#ifndef ZK_SHARED_MODEL_H
#define ZK_SHARED_MODEL_H

#include <stdint.h>

#include "kernels/device.h"
#include "shared/model_config.h"
#include "shared/params.h"
#include "shared/safetensors.h"
#include "shared/tokenizer.h"

// Reads and checks DIR's config (same as zk_model_config_load).
zk_status zk_model_load_config(const char *dir, zk_model_config *out);

// ---- reading

typedef struct zk_model_reader zk_model_reader;

// Opens DIR's weights and checks all of them against the table: each tensor there once with the right shape and a float
// dtype, no tensor that the model has no place for (rotary inv_freq buffers are skipped; lm_head.weight of a tied model
// must equal the embedding). Of an adapter's table the weights are DIR's adapter_model.safetensors. `params` must outlive the reader. ZK_BAD_INPUT or ZK_UNSUPPORTED names the file and the
// tensor.
zk_status zk_model_reader_open(const char *dir, const zk_params *params, zk_model_reader **out);
// Reads global elements [first, first + count) into out[count]. A NaN or infinity is refused by tensor and index.
// Independent ranges may be read from several threads.
zk_status zk_model_reader_read(const zk_model_reader *reader, int64_t first, int64_t count, float *out);
void zk_model_reader_close(zk_model_reader *reader); // NULL is fine

// Reads all weights into flat[params->num_elements].
zk_status zk_model_load_weights(const char *dir, const zk_params *params, float *flat);

// ---- writing

#define ZK_MODEL_MAX_SHARD_BYTES ((int64_t)5 << 30) // larger models are written as shards

typedef struct zk_model_writer zk_model_writer;

// Begins a complete folder in DIR (made when missing): config files (unless config is NULL) and, unless tokenizer_dir is
// NULL, the tokenizer files of tokenizer_dir. Of an adapter's table the weights are adapter_model.safetensors, and
// shared/adapter_folder.h writes what says so. dtype: ZK_DTYPE_F32 or ZK_DTYPE_BF16. max_shard_bytes: ZK_MODEL_MAX_SHARD_BYTES, smaller in
// tests; an adapter is one file however large it is, as whoever loads one expects. One process writes; the weights may be appended block by block in global element order. Deterministic bytes.
zk_status zk_model_writer_open(const char *dir, const zk_model_config *config, const zk_params *params, zk_dtype dtype,
                               int64_t max_shard_bytes, const char *tokenizer_dir, zk_model_writer **out);
zk_status zk_model_writer_append(zk_model_writer *writer, const float *values, int64_t count);
// Renames the weights into place. Frees the writer, also on failure.
zk_status zk_model_writer_close(zk_model_writer *writer);
void zk_model_writer_abort(zk_model_writer *writer); // NULL is fine

// Opens, appends flat[params->num_elements], closes.
zk_status zk_model_save(const char *dir, const zk_model_config *config, const zk_params *params, const float *flat,
                        zk_dtype dtype, const char *tokenizer_dir);

// Copies the model of folder `from` (config, weights, tokenizer files, nothing else) to `dir`, which must be absent or
// empty, by way of a folder beside it that is renamed at the end. dtype as above: F32 is exact. ZK_BAD_INPUT, ZK_IO.
zk_status zk_model_copy(const char *from, const char *dir, zk_dtype dtype);
// The same way of `fill`, which is given the folder beside it.
typedef zk_status zk_model_fill(void *arg, const char *dir);
zk_status zk_model_folder_make(const char *dir, zk_model_fill *fill, void *arg);

// ---- from scratch

// Initial weights of elements [first, first + count) of a new model: norms 1, biases 0, matrices a sum-of-uniforms
// normal of standard deviation std (0.02 is usual), times 1/sqrt(2 x layers) for the projections that write to the
// residual (o_proj, down_proj; Radford et al. 2019). A function of (config, seed, std, global element index) alone:
// Philox words, integer sums and IEEE operations, so the same in any order, on any machine.
void zk_model_init_range(const zk_model_config *config, const zk_params *params, uint64_t seed, double std,
                         int64_t first, int64_t count, float *out);
// The same on the stream's device, stored as weights of `numerics` are; `device` is the place of element `first`. Waits.
zk_status zk_model_init_device(zk_stream *stream, zk_numerics numerics, const zk_model_config *config, const zk_params *params, uint64_t seed,
                               double std, int64_t first, int64_t count, void *device);
// All of them: flat[params->num_elements].
void zk_model_init(const zk_model_config *config, const zk_params *params, uint64_t seed, double std, float *flat);

// ---- tokenizer

// Checks that a tokenizer fits the model: its largest id below the vocabulary; every eos id of the model, and its bos
// id, a token of the tokenizer. A model vocabulary larger than the tokenizer's is fine (padding rows are common).
// ZK_BAD_INPUT; `what` names the tokenizer in the message.
zk_status zk_model_check_tokenizer(const zk_model_config *config, const char *what, const zk_tokenizer *tokenizer);

#endif
