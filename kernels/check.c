// The registry of checks, and the two ways to run it.
#include "kernels/check.h"

#include <stdio.h>
#include <string.h>

#include "kernels/backend.h"
#include "kernels/check_case.h"
#include "kernels/cpu/isa.h"
#include "kernels/cuda/attention_backward_variant.h"
#include "kernels/cuda/attention_variant.h"
#include "kernels/cuda/gemm.h"

#define F32 (1u << ZK_F32)
#define BF16 (1u << ZK_BF16)
#define BOTH (1u << ZK_F32 | 1u << ZK_BF16)

typedef struct {
  const char *operation; // as in kernels/ops.h, or "math", "add_tree", "linear_parts", "linear_parts_backward", "rope_cache", "rope_attention", "attention_weights", "lmhead_entropy", "lmhead_loss", "rope_norm_backward", "adamw_shard", "resident", "overlap", "large", "batch_sweep"
  unsigned numerics;     // a bit for each it is run in
  zk_status (*run)(zk_check *check);
} registered;

static const registered registry[] = {
    {"math", F32, zk_check_math},
    {"embedding", BOTH, zk_check_embedding},
    {"linear", BOTH, zk_check_linear},
    {"linear_parts", BOTH, zk_check_linear_parts},
    {"rmsnorm", BOTH, zk_check_rmsnorm},
    {"rope", BOTH, zk_check_rope},
    {"kv_write", BOTH, zk_check_kv_write},
    {"rope_cache", BOTH, zk_check_rope_cache},
    {"attention", BOTH, zk_check_attention},
    {"rope_attention", BOTH, zk_check_rope_attention},
    {"attention_weights", BF16, zk_check_attention_weights},
    {"swiglu", BOTH, zk_check_swiglu},
    {"resident", BF16, zk_check_resident},
    {"add", BOTH, zk_check_add},
    {"scale", BOTH, zk_check_scale},
    {"add_tree", F32, zk_check_add_tree},
    {"lmhead_logprob", BOTH, zk_check_lmhead_logprob},
    {"lmhead_sample", BOTH, zk_check_lmhead_sample},
    {"lmhead_backward", BOTH, zk_check_lmhead_backward},
    {"lmhead_entropy", BOTH, zk_check_lmhead_entropy},
    {"lmhead_loss", BOTH, zk_check_lmhead_loss},
    {"embedding_backward", BOTH, zk_check_embedding_backward},
    {"linear_backward_input", BOTH, zk_check_linear_backward_input},
    {"linear_backward_weight", BOTH, zk_check_linear_backward_weight},
    {"linear_parts_backward", BOTH, zk_check_linear_parts_backward},
    {"rmsnorm_backward", BOTH, zk_check_rmsnorm_backward},
    {"rope_backward", BOTH, zk_check_rope_backward},
    {"rope_norm_backward", BOTH, zk_check_rope_norm_backward},
    {"attention_backward", BOTH, zk_check_attention_backward},
    {"swiglu_backward", BOTH, zk_check_swiglu_backward},
    {"sum_squares", F32, zk_check_sum_squares},
    {"adamw", BOTH, zk_check_adamw},
    {"weights_hash", BOTH, zk_check_weights_hash},
    {"adamw_shard", BOTH, zk_check_adamw_shard},
    {"init_normal", BOTH, zk_check_init_normal},
    {"overlap", BOTH, zk_check_overlap},
    {"large", BF16, zk_check_large},
    {"batch_sweep", BOTH, zk_check_sweep}, // last: a fault is named by its own operation
};

// The first row that differs, kept for the message.
typedef struct {
  char operation[64], numerics[16], variant[32], first[320];
  uint64_t num_bits, differing_bits;
  int f32_differs; // some row of f32 does
} verdict;

static zk_status run_one(const registered *entry, zk_numerics numerics, zk_device *device, int quick,
                         const char *variant, zk_check_report report, void *user, verdict *verdict) {
  zk_check check = {.device = device,
                    .numerics = numerics,
                    .quick = quick,
                    .rotate_threads = !quick,
                    .max_threads = 3,
                    .seed = 1};
  zk_status status = zk_stream_open(device, ZK_SIDE_NONE, &check.stream);
  if (status == ZK_OK) status = zk_stream_open(device, ZK_SIDE_NONE, &check.helper);
  if (status == ZK_OK) {
    check.helper->fault.op = ZK_NUM_OPS;
    check.fused = check.helper;
    status = entry->run(&check);
  }
  zk_check_free(&check);
  zk_stream_close(check.helper);
  zk_stream_close(check.stream);
  if (status != ZK_OK) return zk_status_context(status, "check of operation %s, variant %s, numerics %s", entry->operation, variant, zk_numerics_name(numerics));
  const zk_check_row row = {entry->operation,
                            zk_numerics_name(numerics),
                            device->kind == ZK_DEVICE_CPU ? "cpu" : "cuda",
                            variant,
                            check.num_cases,
                            check.num_bits,
                            check.differing_bits,
                            check.first_difference};
  if (check.num_cases == 0) return ZK_OK; // no row for what a device has not
#ifdef ZK_WITH_CUDA
  if (zk_cuda_gemm_is_idle() || zk_cuda_attention_is_idle() || zk_cuda_attention_backward_is_idle()) return ZK_OK; // no row for a kernel that never ran
#endif
  if (report != NULL) report(&row, user);
  if (row.differing_bits > 0 && numerics == ZK_F32) verdict->f32_differs = 1;
  if (row.differing_bits > 0 && verdict->differing_bits == 0) {
    strncpy(verdict->operation, row.operation, sizeof verdict->operation - 1);
    strncpy(verdict->numerics, row.numerics, sizeof verdict->numerics - 1);
    strncpy(verdict->variant, row.variant, sizeof verdict->variant - 1);
    strncpy(verdict->first, row.first_difference, sizeof verdict->first - 1);
    verdict->num_bits = row.num_bits;
    verdict->differing_bits = row.differing_bits;
  }
  return ZK_OK;
}

// bf16 on the scalar instruction set is the integer model, a step at a time, as the reference is: its short form is enough.
static int is_slow(const zk_device *device, zk_numerics numerics) {
  return device->kind == ZK_DEVICE_CPU && numerics == ZK_BF16 && zk_device_isa(device) == ZK_CPU_SCALAR;
}

// `wanted`: a bit for each numerics.
static zk_status run_all(zk_device *device, int quick, unsigned wanted, const char *only, const char *variant, zk_check_report report, void *user,
                         verdict *verdict) {
  for (size_t i = 0; i < sizeof registry / sizeof registry[0]; i++)
    for (zk_numerics numerics = 0; numerics < ZK_NUM_NUMERICS; numerics++)
      if ((registry[i].numerics & wanted) >> numerics & 1u && (only == NULL || strcmp(only, registry[i].operation) == 0))
        ZK_TRY(run_one(&registry[i], numerics, device, quick || is_slow(device, numerics), variant, report, user, verdict));
  return ZK_OK;
}

#ifdef ZK_WITH_CUDA
// Every kernel of bf16's attention, taken wherever it is valid.
static zk_status run_attention(zk_device *device, const char *only, zk_check_report report, void *user, verdict *verdict) {
  zk_status status = ZK_OK;
  for (int v = 0; v < ZK_CUDA_NUM_ATTENTION; v++)
    for (size_t i = 0; i < sizeof registry / sizeof registry[0] && status == ZK_OK; i++) {
      if (strcmp(registry[i].operation, "attention") != 0 || (only != NULL && strcmp(only, registry[i].operation) != 0)) continue;
      zk_cuda_attention_force((zk_cuda_attention_variant)v);
      status = run_one(&registry[i], ZK_BF16, device, 0, zk_cuda_attention_name((zk_cuda_attention_variant)v), report, user, verdict);
    }
  zk_cuda_attention_force(ZK_CUDA_NUM_ATTENTION);
  return status;
}

// Every kernel of bf16's attention backward, taken wherever it is valid.
static zk_status run_attention_backward(zk_device *device, const char *only, zk_check_report report, void *user, verdict *verdict) {
  zk_status status = ZK_OK;
  for (int v = 0; v < ZK_CUDA_NUM_ATTENTION_BACKWARD; v++)
    for (size_t i = 0; i < sizeof registry / sizeof registry[0] && status == ZK_OK; i++) {
      if (strcmp(registry[i].operation, "attention_backward") != 0 || (only != NULL && strcmp(only, registry[i].operation) != 0)) continue;
      const zk_cuda_attention_backward_variant variant = (zk_cuda_attention_backward_variant)v;
      zk_cuda_attention_backward_force(variant);
      status = run_one(&registry[i], ZK_BF16, device, 0, zk_cuda_attention_backward_name(variant), report, user, verdict);
    }
  zk_cuda_attention_backward_force(ZK_CUDA_NUM_ATTENTION_BACKWARD);
  return status;
}

static bool is_product(const char *operation) {
  return strncmp(operation, "linear", 6) == 0 || strncmp(operation, "lmhead", 6) == 0;
}

// Every kernel of a matrix product, taken wherever it is valid, through every operation that is made of products; where it is valid for
// none of an operation's, there is no row.
static zk_status run_products(zk_device *device, const char *only, zk_check_report report, void *user, verdict *verdict) {
  zk_status status = ZK_OK;
  for (int v = 0; v < ZK_CUDA_NUM_GEMM && status == ZK_OK; v++) {
    const zk_cuda_gemm_variant variant = (zk_cuda_gemm_variant)v;
    const zk_numerics numerics = zk_cuda_gemm_numerics(variant);
    if (!zk_cuda_gemm_available(variant)) continue;
    for (size_t i = 0; i < sizeof registry / sizeof registry[0] && status == ZK_OK; i++) {
      if (!is_product(registry[i].operation) || !(registry[i].numerics >> numerics & 1u) ||
          (only != NULL && strcmp(only, registry[i].operation) != 0))
        continue;
      zk_cuda_gemm_force(variant);
      status = run_one(&registry[i], numerics, device, 0, zk_cuda_gemm_name(variant), report, user, verdict);
    }
  }
  zk_cuda_gemm_force(ZK_CUDA_NUM_GEMM);
  return status;
}
#endif

static const char *variant_of(const zk_device *device) {
  return device->kind == ZK_DEVICE_CPU ? zk_cpu_isa_name(zk_device_isa(device)) : "sm_90a";
}

static zk_status require_known(const char *only) {
  if (only == NULL) return ZK_OK;
  char names[64 * sizeof registry / sizeof registry[0]];
  size_t used = 0;
  for (size_t i = 0; i < sizeof registry / sizeof registry[0]; i++) {
    if (strcmp(only, registry[i].operation) == 0) return ZK_OK;
    used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i > 0 ? " " : "", registry[i].operation);
  }
  return ZK_FAIL(ZK_BAD_INPUT, "check: unknown operation \"%s\"; one of: %s", only, names);
}

static zk_status judge(const verdict *verdict) {
  if (verdict->differing_bits == 0) return ZK_OK;
  return ZK_FAIL(ZK_MISMATCH,
                 "operation %s, variant %s, numerics %s: %llu differing bits of %llu, first at %s; this device does not keep the "
                 "contract%s",
                 verdict->operation, verdict->variant, verdict->numerics, (unsigned long long)verdict->differing_bits,
                 (unsigned long long)verdict->num_bits, verdict->first,
                 verdict->f32_differs ? ": do not run on it" : " in bf16: use numerics: f32, or another device");
}

static zk_status quick_rows(zk_device *device, unsigned wanted, const char *only, zk_check_report report, void *user) {
  verdict verdict = {0};
  ZK_TRY(require_known(only));
  ZK_TRY(zk_device_check_fp(device));
  ZK_TRY(run_all(device, 1, wanted, only, variant_of(device), report, user, &verdict));
  return judge(&verdict);
}

zk_status zk_check_quick(zk_device *device, zk_numerics numerics) { return quick_rows(device, numerics == ZK_F32 ? F32 : BOTH, NULL, NULL, NULL); }

zk_status zk_check_quick_rows(zk_device *device, const char *only, zk_check_report report, void *user) {
  return quick_rows(device, BOTH, only, report, user);
}

zk_status zk_check_full(zk_device *device, const char *only, zk_check_report report, void *user) {
  verdict verdict = {0};
  ZK_TRY(require_known(only));
  ZK_TRY(zk_device_check_fp(device));
  if (device->kind != ZK_DEVICE_CPU) {
    ZK_TRY(run_all(device, 0, BOTH, only, variant_of(device), report, user, &verdict));
#ifdef ZK_WITH_CUDA
    ZK_TRY(run_products(device, only, report, user, &verdict));
    ZK_TRY(run_attention(device, only, report, user, &verdict));
    ZK_TRY(run_attention_backward(device, only, report, user, &verdict));
#endif
    return judge(&verdict);
  }
  const zk_cpu_isa chosen = zk_device_isa(device);
  for (int isa = ZK_CPU_AVX512; isa >= ZK_CPU_SCALAR; isa--) {
    if (!zk_cpu_isa_available((zk_cpu_isa)isa)) continue;
    ZK_TRY(zk_device_set_isa(device, (zk_cpu_isa)isa));
    ZK_TRY(run_all(device, 0, BOTH, only, zk_cpu_isa_name((zk_cpu_isa)isa), report, user, &verdict));
  }
  ZK_TRY(zk_device_set_isa(device, chosen));
  return judge(&verdict);
}
