// Cases: their names, their data, and the lines of their outputs.
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"
#include "kernels/bf16.h"
#include "kernels/hash.h"
#include "kernels/math.h"
#include "kernels/rng.h"

enum { NUM_SHOWN = 4 };

const char *golden_kind_name(golden_kind kind) {
  static const char *const names[] = {
#define X(name, text) text,
      GOLDEN_KIND_LIST(X)
#undef X
  };
  return names[kind];
}

void golden_end(golden *g) {
  while (g->num_memory > 0) zk_device_free(g->device, g->memory[--g->num_memory]);
}

int golden_case(golden *g, zk_op op, const char *format, ...) {
  golden_end(g);
  if (g->only != NULL && strcmp(g->only, zk_op_name(op)) != 0) return 0;
  const size_t used =
      (size_t)snprintf(g->name, sizeof g->name, "%s %s ", zk_op_name(op), zk_numerics_name(g->numerics));
  va_list args;
  va_start(args, format);
  vsnprintf(g->name + used, sizeof g->name - used, format, args);
  va_end(args);
  g->seed = g->num_drawn = 0;
  for (const char *c = g->name; *c != 0; c++) g->seed = zk_mix64((uint64_t)*c, g->seed);
  return 1;
}

size_t golden_bytes(const golden *g, int64_t n) { return (size_t)n * zk_numerics_bytes(g->numerics); }

zk_status golden_zeros(golden *g, size_t bytes, void **out) {
  if (g->num_memory == GOLDEN_MAX_BUFFERS) return ZK_FAIL(ZK_INTERNAL, "golden: too many buffers in a case");
  ZK_TRY(zk_device_alloc(g->device, bytes, "golden", out));
  g->memory[g->num_memory++] = *out;
  return ZK_OK;
}

zk_status golden_upload(golden *g, const void *host, size_t bytes, void **out) {
  ZK_TRY(golden_zeros(g, bytes, out));
  ZK_TRY(zk_copy_to_device(g->stream, *out, host, bytes));
  return zk_stream_wait(g->stream);
}

// ---- data

// Four random words for element i of the case's buffer number `buffer`.
static void draw(const golden *g, uint32_t buffer, int64_t i, uint32_t r[4]) {
  const uint32_t ctr[4] = {(uint32_t)ZK_RNG_TEST << 24, (uint32_t)i, (uint32_t)((uint64_t)i >> 32), buffer},
                 key[2] = {(uint32_t)g->seed, (uint32_t)(g->seed >> 32)};
  zk_philox4x32(ctr, key, r);
}

// Element i from its random words. `previous` is element i - 1, `ulp` the stored type's at 1.
static float value(golden_kind kind, const uint32_t r[4], float previous, float ulp, int64_t i) {
  const float unit = (float)(int32_t)r[0] * 0x1p-31f; // [-1, 1]
  switch (kind) {
  case GOLDEN_WIDE: // times 2^-20 .. 2^20
    return unit * zk_bits_float((107u + r[1] % 41u) << 23);
  case GOLDEN_SUBNORMAL:
    return r[1] % 2 == 0 ? unit : zk_bits_float((r[0] & 0x80000000u) | (r[2] & 0x007fffffu) >> r[1] % 20);
  case GOLDEN_CANCELLING:
    return i % 2 == 1 ? -previous * (1.0f + (float)(r[1] % 3) * ulp) : unit * 64.0f;
  case GOLDEN_ZEROS:
    return r[1] % 4 == 0 ? unit : zk_bits_float(r[0] & 0x80000000u);
  default:
    return unit * 2.0f;
  }
}

static zk_status out_of_memory(void) { return ZK_FAIL(ZK_OUT_OF_MEMORY, "golden: no memory for a case's data"); }

zk_status golden_floats(golden *g, golden_kind kind, int64_t n, float **out) {
  const uint32_t buffer = g->num_drawn++;
  float *x = malloc((size_t)n * sizeof *x);
  if (x == NULL) return out_of_memory();
  for (int64_t i = 0; i < n; i++) {
    uint32_t r[4];
    draw(g, buffer, i, r);
    x[i] = value(kind, r, i > 0 ? x[i - 1] : 1.0f, 0x1p-23f, i);
  }
  const zk_status status = golden_upload(g, x, (size_t)n * sizeof *x, (void **)out);
  free(x);
  return status;
}

zk_status golden_elements(golden *g, golden_kind kind, int64_t n, void **out) {
  if (g->numerics == ZK_F32) return golden_floats(g, kind, n, (float **)out);
  const uint32_t buffer = g->num_drawn++;
  zk_bf16 *x = malloc((size_t)n * sizeof *x);
  if (x == NULL) return out_of_memory();
  for (int64_t i = 0; i < n; i++) {
    uint32_t r[4];
    draw(g, buffer, i, r);
    x[i] = zk_float_to_bf16(value(kind, r, i > 0 ? zk_bf16_to_float(x[i - 1]) : 1.0f, 0x1p-7f, i));
  }
  const zk_status status = golden_upload(g, x, (size_t)n * sizeof *x, out);
  free(x);
  return status;
}

zk_status golden_integers(golden *g, int32_t bound, int64_t n, int32_t **out) {
  const uint32_t buffer = g->num_drawn++;
  int32_t *x = malloc((size_t)n * sizeof *x);
  if (x == NULL) return out_of_memory();
  for (int64_t i = 0; i < n; i++) {
    uint32_t r[4];
    draw(g, buffer, i, r);
    x[i] = (int32_t)(r[0] % (uint32_t)bound);
  }
  const zk_status status = golden_upload(g, x, (size_t)n * sizeof *x, (void **)out);
  free(x);
  return status;
}

// ---- lines

// The bits of element i; every NaN as one, since its payload is not part of the contract.
static uint64_t bits_at(int element_bytes, int is_float, const void *data, int64_t i) {
  uint64_t bits = 0;
  memcpy(&bits, (const char *)data + i * element_bytes, (size_t)element_bytes);
  if (is_float && element_bytes == 4 && (bits & 0x7fffffffu) > 0x7f800000u) return 0x7fc00000u;
  if (is_float && element_bytes == 2 && (bits & 0x7fffu) > 0x7f80u) return 0x7fffu;
  return bits;
}

static void write_line(golden *g, const char *what, int element_bytes, int is_float, const void *host, int64_t n) {
  uint64_t hash = 0;
  for (int64_t i = 0; i < n; i++) hash += zk_mix64(bits_at(element_bytes, is_float, host, i), (uint64_t)i);
  fprintf(g->out, "%s: %s[%lld] %016llx =", g->name, what, (long long)n, (unsigned long long)hash);
  for (int64_t i = 0; i < n && i < NUM_SHOWN; i++)
    fprintf(g->out, " %0*llx", 2 * element_bytes, (unsigned long long)bits_at(element_bytes, is_float, host, i));
  fputs(n > NUM_SHOWN ? " ...\n" : "\n", g->out);
}

static zk_status line(golden *g, const char *what, int element_bytes, int is_float, const void *device, int64_t n) {
  void *host = malloc((size_t)n * (size_t)element_bytes);
  if (host == NULL) return out_of_memory();
  zk_status status = zk_copy_to_host(g->stream, host, device, (size_t)n * (size_t)element_bytes);
  if (status == ZK_OK) status = zk_stream_wait(g->stream);
  if (status == ZK_OK) write_line(g, what, element_bytes, is_float, host, n);
  free(host);
  return status;
}

zk_status golden_floats_line(golden *g, const char *what, const float *device, int64_t n) {
  return line(g, what, 4, 1, device, n);
}
zk_status golden_elements_line(golden *g, const char *what, const void *device, int64_t n) {
  return line(g, what, (int)zk_numerics_bytes(g->numerics), 1, device, n);
}
zk_status golden_integers_line(golden *g, const char *what, const int32_t *device, int64_t n) {
  return line(g, what, 4, 0, device, n);
}
zk_status golden_u64_line(golden *g, const char *what, const uint64_t *device, int64_t n) {
  return line(g, what, 8, 0, device, n);
}
void golden_host_line(golden *g, const char *what, int element_bytes, const void *host, int64_t n) {
  write_line(g, what, element_bytes, 0, host, n);
}
