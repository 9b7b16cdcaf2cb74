// Instruction sets on x86-64: files in cpu/isa/ are compiled once for each, and the device's choice picks among the three at run time.
#ifndef ZK_KERNELS_CPU_ISA_H
#define ZK_KERNELS_CPU_ISA_H

#include "kernels/device.h"

typedef enum { ZK_CPU_SCALAR, ZK_CPU_AVX2, ZK_CPU_AVX512 } zk_cpu_isa;
zk_cpu_isa zk_device_isa(const zk_device *device);

const char *zk_cpu_isa_name(zk_cpu_isa isa);    // "avx512"
int zk_cpu_isa_available(zk_cpu_isa isa);        // does this CPU have it (and FMA)
zk_cpu_isa zk_cpu_isa_best(void);               // of those it has
zk_status zk_device_set_isa(zk_device *device, zk_cpu_isa isa); // for tests and zerokl check; ZK_UNSUPPORTED when not available

#define ZK_CAT_(a, b) a##_##b
#define ZK_CAT(a, b) ZK_CAT_(a, b)
// In a file of cpu/isa/: the name of a function for the set being compiled, e.g. zk_gemm_avx2.
#define ZK_ISA_FN(name) ZK_CAT(name, ZK_ISA)
// Elsewhere: declare the three, pick one, call one.
#define ZK_ISA_DECLARE(ret, name, args)                                                                                \
  ret name##_scalar args;                                                                                              \
  ret name##_avx2 args;                                                                                                \
  ret name##_avx512 args
#define ZK_ISA_PICK(isa, name)                                                                                         \
  ((isa) == ZK_CPU_AVX512 ? name##_avx512 : (isa) == ZK_CPU_AVX2 ? name##_avx2 : name##_scalar)
#define ZK_ISA_CALL(isa, name, ...) (ZK_ISA_PICK(isa, name)(__VA_ARGS__))

#endif
