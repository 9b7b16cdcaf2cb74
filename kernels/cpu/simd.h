// One f32 vector of ZK_VLEN lanes for the instruction set a file of cpu/isa/ is compiled for. Lanes never mix: every operation is the
// same IEEE operation in each lane, so the width of a vector changes no bit.
#ifndef ZK_KERNELS_CPU_SIMD_H
#define ZK_KERNELS_CPU_SIMD_H

#include <stdint.h>
#include "kernels/math.h"

// Before a loop whose iterations are independent (an output may be the same buffer as an input, element by element).
#if defined(ZK_ISA_avx512) || defined(ZK_ISA_avx2)
#define ZK_INDEPENDENT_LOOP _Pragma("omp simd")
#else
#define ZK_INDEPENDENT_LOOP
#endif

#if defined(ZK_ISA_avx512)
#include <immintrin.h>
#define ZK_VLEN 16
typedef __m512 zk_vf;
static inline zk_vf zk_vf_zero(void) { return _mm512_setzero_ps(); }
static inline zk_vf zk_vf_set1(float x) { return _mm512_set1_ps(x); }
static inline zk_vf zk_vf_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void zk_vf_store(float *p, zk_vf v) { _mm512_storeu_ps(p, v); }
static inline zk_vf zk_vf_fma(zk_vf a, zk_vf b, zk_vf c) { return _mm512_fmadd_ps(a, b, c); }
static inline zk_vf zk_vf_add(zk_vf a, zk_vf b) { return _mm512_add_ps(a, b); }
static inline zk_vf zk_vf_sub(zk_vf a, zk_vf b) { return _mm512_sub_ps(a, b); }
static inline zk_vf zk_vf_mul(zk_vf a, zk_vf b) { return _mm512_mul_ps(a, b); }
#elif defined(ZK_ISA_avx2)
#include <immintrin.h>
#define ZK_VLEN 8
typedef __m256 zk_vf;
static inline zk_vf zk_vf_zero(void) { return _mm256_setzero_ps(); }
static inline zk_vf zk_vf_set1(float x) { return _mm256_set1_ps(x); }
static inline zk_vf zk_vf_load(const float *p) { return _mm256_loadu_ps(p); }
static inline void zk_vf_store(float *p, zk_vf v) { _mm256_storeu_ps(p, v); }
static inline zk_vf zk_vf_fma(zk_vf a, zk_vf b, zk_vf c) { return _mm256_fmadd_ps(a, b, c); }
static inline zk_vf zk_vf_add(zk_vf a, zk_vf b) { return _mm256_add_ps(a, b); }
static inline zk_vf zk_vf_sub(zk_vf a, zk_vf b) { return _mm256_sub_ps(a, b); }
static inline zk_vf zk_vf_mul(zk_vf a, zk_vf b) { return _mm256_mul_ps(a, b); }
#else
#define ZK_VLEN 1
typedef float zk_vf;
static inline zk_vf zk_vf_zero(void) { return 0.0f; }
static inline zk_vf zk_vf_set1(float x) { return x; }
static inline zk_vf zk_vf_load(const float *p) { return *p; }
static inline void zk_vf_store(float *p, zk_vf v) { *p = v; }
static inline zk_vf zk_vf_fma(zk_vf a, zk_vf b, zk_vf c) { return fmaf(a, b, c); }
static inline zk_vf zk_vf_add(zk_vf a, zk_vf b) { return a + b; }
static inline zk_vf zk_vf_sub(zk_vf a, zk_vf b) { return a - b; }
static inline zk_vf zk_vf_mul(zk_vf a, zk_vf b) { return a * b; }
#endif

#endif
