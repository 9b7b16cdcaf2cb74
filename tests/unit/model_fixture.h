// What tests of whole models share: a policy from a fixture folder or made from scratch, on the CPU but where a test asks for another
// device.
#ifndef ZK_TESTS_MODEL_FIXTURE_H
#define ZK_TESTS_MODEL_FIXTURE_H

#include "kernel_fixture.h"
#include "shared/model.h"
#include "shared/policy.h"

typedef struct {
  zk_device *device;
  zk_stream *stream;
  zk_policy policy;
} test_model;

// A policy without weights.
static inline void test_model_open_on(test_model *m, zk_device_kind kind, zk_numerics numerics, const zk_model_config *config) {
  OK(zk_model_config_check(config));
  OK(zk_device_open(kind, 0, &m->device));
  OK(zk_stream_open(m->device, ZK_SIDE_NONE, &m->stream));
  OK(zk_policy_open(m->device, numerics, config, config->max_position, &m->policy));
}

static inline void test_model_open(test_model *m, zk_numerics numerics, const zk_model_config *config) {
  test_model_open_on(m, ZK_DEVICE_CPU, numerics, config);
}

static inline void test_model_load(test_model *m, const char *dir) {
  zk_model_config config;
  OK(zk_model_load_config(dir, &config));
  test_model_open(m, ZK_F32, &config);
  OK(zk_policy_load_weights(&m->policy, m->stream, dir));
}

// Random weights for an open policy, to be given to it or changed first; the caller frees them.
static inline float *test_model_weights(const test_model *m, uint64_t seed, double std) {
  float *flat = malloc((size_t)m->policy.params.num_elements * sizeof *flat);
  assert_non_null(flat);
  zk_model_init(&m->policy.config, &m->policy.params, seed, std, flat);
  return flat;
}

static inline void test_model_give(test_model *m, float *flat) {
  OK(zk_policy_set_weights(&m->policy, m->stream, flat));
  free(flat);
}

// A small random model of an architecture; std large enough that every operation matters.
static inline void test_model_make(test_model *m, zk_model_architecture architecture, int heads, int kv_heads, int head_dim) {
  zk_model_config c = zk_model_config_default(architecture);
  c.num_layers = 2, c.hidden = 48, c.num_heads = heads, c.num_kv_heads = kv_heads, c.head_dim = head_dim, c.intermediate = 80, c.vocab = 300;
  c.max_position = 1024, c.tie_embeddings = 1, c.num_eos = 1, c.eos_ids[0] = 299;
  test_model_open(m, ZK_F32, &c);
  test_model_give(m, test_model_weights(m, 11, 0.2));
}

static inline void test_model_close(test_model *m) {
  zk_policy_close(&m->policy);
  zk_stream_close(m->stream);
  zk_device_close(m->device);
}

#endif
