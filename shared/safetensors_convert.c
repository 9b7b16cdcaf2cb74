// Elements as they lie on disk to f32, exactly, and to 64-bit integers.
#include <string.h>

#include "kernels/bf16.h"
#include "shared/safetensors.h"

float zk_float_from_f16(uint16_t bits) {
  uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = bits >> 10 & 31, fraction = bits & 0x3ff;
  if (exponent == 31) return zk_bits_float(sign | 0x7f800000u | fraction << 13); // infinity, NaN
  if (exponent) return zk_bits_float(sign | (exponent + 112) << 23 | fraction << 13);
  float magnitude = (float)fraction * 0x1p-24f; // zero and subnormals: fraction x 2^-24, exact
  return zk_bits_float(sign | zk_float_bits(magnitude));
}

static zk_status check_range(const zk_safetensor *t, int64_t first, int64_t count) {
  if (first >= 0 && count >= 0 && first <= t->num_elements && count <= t->num_elements - first) return ZK_OK;
  return ZK_FAIL(ZK_INTERNAL, "%s: tensor %s: elements [%lld, +%lld) of %lld", t->file, t->name, (long long)first,
                 (long long)count, (long long)t->num_elements);
}

zk_status zk_safetensor_read_f32(const zk_safetensor *t, int64_t first, int64_t count, float *out) {
  ZK_TRY(check_range(t, first, count));
  const uint8_t *src =
      (const uint8_t *)t->data + (size_t)first * zk_dtype_bytes(t->dtype); // data may be unaligned: memcpy
  uint16_t half;
  switch (t->dtype) {
  case ZK_DTYPE_F32:
    if (count) memcpy(out, src, (size_t)count * 4);
    return ZK_OK;
  case ZK_DTYPE_BF16:
    for (int64_t i = 0; i < count; i++) memcpy(&half, src + 2 * i, 2), out[i] = zk_bf16_to_float((zk_bf16){half});
    return ZK_OK;
  case ZK_DTYPE_F16:
    for (int64_t i = 0; i < count; i++) memcpy(&half, src + 2 * i, 2), out[i] = zk_float_from_f16(half);
    return ZK_OK;
  default:
    return ZK_FAIL(ZK_UNSUPPORTED, "%s: tensor %s has dtype %s; weights must be F32, BF16 or F16", t->file, t->name,
                   zk_dtype_name(t->dtype));
  }
}

zk_status zk_safetensor_read_i64(const zk_safetensor *t, int64_t first, int64_t count, int64_t *out) {
  ZK_TRY(check_range(t, first, count));
  const uint8_t *src = (const uint8_t *)t->data + (size_t)first * zk_dtype_bytes(t->dtype);
  int32_t word;
  switch (t->dtype) {
  case ZK_DTYPE_I64:
    if (count) memcpy(out, src, (size_t)count * 8);
    return ZK_OK;
  case ZK_DTYPE_I32:
    for (int64_t i = 0; i < count; i++) memcpy(&word, src + 4 * i, 4), out[i] = word;
    return ZK_OK;
  default:
    return ZK_FAIL(ZK_UNSUPPORTED, "%s: tensor %s has dtype %s, not I32 or I64", t->file, t->name,
                   zk_dtype_name(t->dtype));
  }
}
