// The CPU's tensor-core multiplication on one thread, for each instruction set: prefill-like, decode-like and attention-like shapes, and a
// weight gradient's layouts.
#include "kernels/bench.h"
#include "kernels/cpu/tc_gemm.h"

static const char group[] = "tc gemm, 1 thread";

typedef struct {
  int64_t m, n, k;
  zk_gemm_layout layout; // of both operands
} shape;

typedef struct {
  zk_cpu_isa isa;
  zk_tc_gemm call;
} tc_arg;

static zk_status run_ours(void *arg) {
  const tc_arg *a = arg;
  ZK_ISA_PICK(a->isa, zk_tc_gemm_run)(&a->call);
  return ZK_OK;
}

static zk_status add_row(zk_bench *bench, tc_arg *a) {
  const double multiply_adds = (double)a->call.m * (double)a->call.n * (double)a->call.k;
  double none;
  zk_bench_row row = {.flops = 2.0 * multiply_adds, .items = multiply_adds * 1e-9, .item = "GMAC/s"};
  snprintf(row.group, sizeof row.group, "%s", group);
  snprintf(row.shape, sizeof row.shape, "%d %d %d%s %s", (int)a->call.m, (int)a->call.n, (int)a->call.k,
           a->call.a.layout == ZK_GEMM_K_OUTER ? " dW" : "", zk_cpu_isa_name(a->isa));
  ZK_TRY(zk_bench_time(bench, run_ours, NULL, a, &row.us, &none));
  return zk_bench_add(bench, row);
}

static zk_status random_bf16(zk_bench *bench, int64_t n, zk_bf16 **out) {
  zk_device *device = zk_bench_device(bench);
  float *x;
  ZK_TRY(zk_bench_floats(bench, (size_t)n, "factors", &x));
  zk_status status = zk_device_alloc(device, (size_t)n * sizeof **out, "bf16 factors", (void **)out);
  for (int64_t i = 0; i < n && status == ZK_OK; i++) (*out)[i] = zk_float_to_bf16(x[i]);
  zk_device_free(device, x);
  return status;
}

static zk_status measure(zk_bench *bench, shape s) {
  zk_bf16 *a = NULL, *b = NULL;
  float *c = NULL;
  zk_status status = random_bf16(bench, s.m * s.k, &a);
  if (status == ZK_OK) status = random_bf16(bench, s.n * s.k, &b);
  if (status == ZK_OK) status = zk_bench_floats(bench, (size_t)(s.m * s.n), "outputs", &c);
  const bool outer = s.layout == ZK_GEMM_K_OUTER;
  tc_arg arg = {.call = {.m = s.m,
                         .n = s.n,
                         .k = s.k,
                         .a = {.data = a, .ld = outer ? s.m : s.k, .layout = s.layout},
                         .b = {.data = b, .ld = outer ? s.n : s.k, .layout = s.layout},
                         .c = c,
                         .ldc = s.n,
                         .threads = 1}};
  for (arg.isa = ZK_CPU_AVX512; status == ZK_OK; arg.isa--) {
    if (zk_cpu_isa_available(arg.isa)) status = add_row(bench, &arg);
    if (arg.isa == ZK_CPU_SCALAR) break;
  }
  void *const buffers[] = {a, b, c};
  for (int i = 0; i < 3; i++)
    if (buffers[i] != NULL) zk_device_free(zk_bench_device(bench), buffers[i]);
  return status;
}

static zk_status run(zk_bench *bench) {
  static const shape shapes[] = {{512, 512, 1024, ZK_GEMM_K_INNER},
                                 {1, 4096, 1024, ZK_GEMM_K_INNER},
                                 {16, 4096, 1024, ZK_GEMM_K_INNER},
                                 {128, 128, 64, ZK_GEMM_K_INNER},
                                 {512, 512, 1024, ZK_GEMM_K_OUTER}};
  zk_device *device = zk_bench_device(bench);
  if (!zk_bench_wants(bench, group) || zk_device_get_kind(device) != ZK_DEVICE_CPU) return ZK_OK;
  const int threads = zk_device_threads(device);
  zk_device_set_threads(device, 1); // the clock then counts this thread's own time
  zk_status status = ZK_OK;
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0] && status == ZK_OK; i++) status = measure(bench, shapes[i]);
  zk_device_set_threads(device, threads);
  return status;
}

const zk_bench_suite zk_bench_suite_tc_gemm = {"tc_gemm", "bf16 products in the tensor core's bits, on one CPU thread", run};
