// The CPU as a device: which instruction set, how many threads, and whether their arithmetic is what the law needs.
#include <immintrin.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kernels/backend.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/memory.h"
#include "kernels/cpu/openblas.h"
#include "kernels/cpu/pages.h"
#include "kernels/math.h"

typedef struct {
  zk_cpu_isa isa;
  int num_threads;
} cpu_state;

static const char *const isa_names[] = {[ZK_CPU_SCALAR] = "scalar", [ZK_CPU_AVX2] = "avx2", [ZK_CPU_AVX512] = "avx512"};

const char *zk_cpu_isa_name(zk_cpu_isa isa) { return isa_names[isa]; }

int zk_cpu_isa_available(zk_cpu_isa isa) {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("fma")) return 0;
  if (isa == ZK_CPU_SCALAR) return 1;
  if (!__builtin_cpu_supports("avx2")) return 0;
  if (isa == ZK_CPU_AVX2) return 1;
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

zk_cpu_isa zk_device_isa(const zk_device *device) { return ((const cpu_state *)device->state)->isa; }
int zk_device_threads(const zk_device *device) { return ((const cpu_state *)device->state)->num_threads; }

static void describe(zk_device *device) {
  const cpu_state *cpu = device->state;
  snprintf(device->description, sizeof device->description, "cpu %s, %d thread%s", isa_names[cpu->isa],
           cpu->num_threads, cpu->num_threads == 1 ? "" : "s");
}

zk_status zk_device_set_isa(zk_device *device, zk_cpu_isa isa) {
  if (!zk_cpu_isa_available(isa)) return ZK_FAIL(ZK_UNSUPPORTED, "this CPU has no %s", isa_names[isa]);
  ((cpu_state *)device->state)->isa = isa;
  describe(device);
  return ZK_OK;
}

void zk_device_set_threads(zk_device *device, int num_threads) {
  if (device->kind != ZK_DEVICE_CPU) return;
  ((cpu_state *)device->state)->num_threads = num_threads < 1 ? 1 : num_threads;
  describe(device);
}

zk_cpu_isa zk_cpu_isa_best(void) {
  return zk_cpu_isa_available(ZK_CPU_AVX512) ? ZK_CPU_AVX512
         : zk_cpu_isa_available(ZK_CPU_AVX2) ? ZK_CPU_AVX2
                                             : ZK_CPU_SCALAR;
}

// ZK_CPU_ISA, or the best there is.
static zk_status choose_isa(zk_cpu_isa *out) {
  if (!zk_cpu_isa_available(ZK_CPU_SCALAR))
    return ZK_FAIL(ZK_UNSUPPORTED,
                   "this CPU has no fused multiply-add (FMA), which every bit depends on; use another machine");
  const char *forced = getenv("ZK_CPU_ISA");
  if (forced == NULL || forced[0] == 0) {
    *out = zk_cpu_isa_best();
    return ZK_OK;
  }
  for (zk_cpu_isa isa = ZK_CPU_SCALAR; isa <= ZK_CPU_AVX512; isa++) {
    if (strcmp(forced, isa_names[isa]) != 0) continue;
    if (!zk_cpu_isa_available(isa)) return ZK_FAIL(ZK_UNSUPPORTED, "ZK_CPU_ISA=%s: this CPU does not have it", forced);
    *out = isa;
    return ZK_OK;
  }
  return ZK_FAIL(ZK_BAD_INPUT, "ZK_CPU_ISA=%s: unknown; one of avx512, avx2, scalar", forced);
}

zk_status zk_device_check_fp(zk_device *device) {
  if (device->kind != ZK_DEVICE_CPU) return ZK_OK;
  const unsigned denormals_are_zero = 0x0040, rounding = 0x6000, flush_to_zero = 0x8000;
  unsigned bad = 0;
  int bad_thread = 0;
#pragma omp parallel num_threads(zk_device_threads(device))
  {
    unsigned mine = _mm_getcsr() & (denormals_are_zero | rounding | flush_to_zero);
    if (mine != 0) {
#pragma omp critical(zk_check_fp)
      bad = mine, bad_thread = omp_get_thread_num();
    }
  }
  if (bad == 0) return ZK_OK;
  return ZK_FAIL(
      ZK_DEVICE,
      "thread %d has %s (MXCSR bits 0x%04x): some library was built with -ffast-math or changed the FP mode; remove it",
      bad_thread, bad & rounding ? "a rounding mode other than to nearest" : "flush-to-zero on", bad);
}

static zk_status cpu_open(zk_device *device, int ordinal) {
  if (ordinal != 0) return ZK_FAIL(ZK_BAD_INPUT, "device cpu:%d: there is one CPU device, cpu", ordinal);
  cpu_state *cpu = calloc(1, sizeof *cpu);
  if (cpu == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a device");
  device->state = cpu;
  cpu->num_threads = omp_get_max_threads(); // OMP_NUM_THREADS, else the cores this process may run on
  zk_status status = choose_isa(&cpu->isa);
  if (status == ZK_OK) status = zk_device_check_fp(device);
  if (status != ZK_OK) {
    free(cpu);
    return status;
  }
  describe(device);
  return ZK_OK;
}

static int cpu_count(void) { return 1; }
static void cpu_close(zk_device *device) { free(device->state); }
static size_t cpu_memory_free(const zk_device *device) { return zk_cpu_memory_free(); }

// Large memory asks for large pages: weights are streamed, and a small page's address is looked up every 4 KiB.
static zk_status cpu_alloc(zk_device *device, size_t bytes, void **out) {
  const size_t large_page = (size_t)2 << 20;
  if (posix_memalign(out, bytes >= large_page ? large_page : 64, bytes > 0 ? bytes : 64) == 0) {
    if (bytes >= large_page) (void)madvise(*out, bytes, MADV_HUGEPAGE); // a wish: a kernel without them changes nothing
    return ZK_OK;
  }
  *out = NULL;
  return ZK_FAIL(ZK_OUT_OF_MEMORY, "%.1f MiB wanted, the system refused", (double)bytes / 1048576.0);
}

static void cpu_free(zk_device *device, void *memory) { free(memory); }

static zk_status cpu_copy(zk_stream *stream, void *dst, const void *src, size_t bytes) {
  if (bytes > 0) memmove(dst, src, bytes);
  return ZK_OK;
}

static zk_status cpu_fill(zk_stream *stream, void *dst, unsigned char byte, size_t bytes) {
  if (bytes > 0) memset(dst, byte, bytes);
  return ZK_OK;
}

static zk_status cpu_wait(zk_stream *stream) { return ZK_OK; }

static zk_status cpu_load_vendor(const zk_device *device) {
  const zk_openblas *blas;
  return zk_openblas_load(&blas);
}

// One ulp of a zero would vanish in the next addition, and one element alone may be rounded away before anything reads it.
static zk_status cpu_flip(zk_stream *stream, void *out, size_t element_bytes, size_t n) {
  uint16_t *halves = out;
  const size_t step = element_bytes / sizeof *halves; // little-endian: an element's lowest bit is in its first half
  size_t i = n / 2;
  while (i + 1 < n && halves[i * step] == 0 && (step == 1 || halves[i * step + 1] == 0)) i++;
  for (; i < n; i += 61) halves[i * step] ^= 1u;
  return ZK_OK;
}

static zk_status cpu_break_down(zk_stream *stream) { return ZK_FAIL(ZK_DEVICE, "%s: a failure that ZK_FAULT asked for", stream->device->description); }

const zk_backend zk_backend_cpu = {
    .count = cpu_count,
    .open = cpu_open,
    .close = cpu_close,
    .memory_free = cpu_memory_free,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .reserve = zk_cpu_reserve,
    .release = zk_cpu_release,
    .map = zk_cpu_map,
    .unmap = zk_cpu_unmap,
    .copy = cpu_copy,
    .fill = cpu_fill,
    .wait = cpu_wait,
    .load_vendor = cpu_load_vendor,
    .flip = cpu_flip,
    .break_down = cpu_break_down,
};

const zk_kernels zk_kernels_cpu = {
#define X(f) .f = zk_cpu_##f,
    ZK_DEVICE_FUNCTIONS(X)
#undef X
};
