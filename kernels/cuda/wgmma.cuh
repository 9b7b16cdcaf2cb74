// Hopper's tensor-core step of a warpgroup (4 warps): D[64 x N] += A[64 x 16] B[16 x N], bf16 operands, fp32
// accumulators. Each element of D is one step of the contract's chain (kernels/tensor_core.h), whatever N, the layout
// and the place: a chain is a sequence of these over ascending k on the same registers.
//
// Thread t of the warpgroup holds, with w = t / 32, g = t % 32 / 4, q = t % 4, for j < N / 8:
//   d[4 j + 0, 1] = D[16 w + g][8 j + 2 q + 0, 1]     d[4 j + 2, 3] = D[16 w + g + 8][8 j + 2 q + 0, 1]
//   A in registers, as mma.sync's (mma.cuh), of rows 16 w ..
//
// Operands in shared memory are 128-byte rows, swizzled as tma.cuh says, from a 1024-byte boundary. Element (i, k), i a
// row of A or a column of B:
//   inner (k contiguous):  row i holds k .. k + 63.          step s of 16 k starts  32 s bytes further
//   outer (i contiguous):  row k holds i .. i + 63; 64 more  step s of 16 k starts 2048 s bytes further
//                          i are `apart` bytes further
//
// The emulated device has its own of the steps (tests/simt/include/hopper.h).
#ifndef ZK_KERNELS_CUDA_WGMMA_CUH
#define ZK_KERNELS_CUDA_WGMMA_CUH

#include "kernels/cuda/async.cuh"

// The words that describe an operand; `p` is its first step. 16-byte units: the address inside the block (in a cluster
// the bits above say which block it is), the distance between blocks of
// 64 i (outer only), the distance between groups of 8 rows (`group` bytes; 0: the first group stands for all), and
// 1 << 62 for the swizzle.
static __device__ __forceinline__ uint64_t zk_wgmma_inner(const void *p, int group = 1024) {
  return (uint64_t)(zk_shared_address(p) >> 4 & 0x3fff) | (uint64_t)1 << 16 | (uint64_t)(group >> 4) << 32 | (uint64_t)1 << 62;
}
static __device__ __forceinline__ uint64_t zk_wgmma_outer(const void *p, int apart) {
  return (uint64_t)(zk_shared_address(p) >> 4 & 0x3fff) | (uint64_t)(apart >> 4) << 16 |
         (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}
// The same operand s steps on.
template <bool OUTER> static __device__ __forceinline__ uint64_t zk_wgmma_step(uint64_t operand, int s) {
  return operand + (uint64_t)(s * (OUTER ? 2048 : 32) >> 4);
}

// After a wait: `next` takes the place of an A operand whose steps have ended. To the compiler an operand has been read
// once its step is queued, and it would give the registers to others while the tensor core still reads them. So the old
// value takes part: `zero` is 0, in a way that the compiler cannot see.
template <int N>
static __device__ __forceinline__ void zk_wgmma_replace(uint32_t (&a)[N], const uint32_t (&next)[N], uint32_t zero) {
#pragma unroll
  for (int i = 0; i < N; ++i) a[i] = next[i] ^ (a[i] & zero);
}

#ifndef ZK_SIMT

// Before the first step after this thread touched accumulators or register operands.
static __device__ __forceinline__ void zk_wgmma_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
// The steps since the last commit are one group.
static __device__ __forceinline__ void zk_wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Until at most GROUPS groups are unfinished. Accumulators may be read after 0.
template <int GROUPS> static __device__ __forceinline__ void zk_wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(GROUPS) : "memory");
}
// After a wait: accumulators that may now be read. To the compiler they are there once their steps are queued, so without
// this it might read them earlier. (Or other values that are to be there now: all of d, or those from FROM to TO.)
template <int FROM = 0, int TO = -1, int N> static __device__ __forceinline__ void zk_wgmma_settle(float (&d)[N]) {
#pragma unroll
  for (int i = FROM; i < (TO < 0 ? N : TO); ++i) asm volatile("" : "+f"(d[i])::"memory");
}
// Accumulators that nobody reads before their chains begin: so the compiler keeps nothing in their place.
template <int N> static __device__ __forceinline__ void zk_wgmma_forget(float (&d)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) asm volatile("mov.b32 %0, 0;" : "=f"(d[i]));
}

// Operands of the instructions below: 4, 8 or 16 accumulators from d[i], and their names.
#define ZK_WGMMA_D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define ZK_WGMMA_D8(i) ZK_WGMMA_D4(i), ZK_WGMMA_D4(i + 4)
#define ZK_WGMMA_D16(i)                                                                                                \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]),          \
      "+f"(d[i + 7]), "+f"(d[i + 8]), "+f"(d[i + 9]), "+f"(d[i + 10]), "+f"(d[i + 11]), "+f"(d[i + 12]),               \
      "+f"(d[i + 13]), "+f"(d[i + 14]), "+f"(d[i + 15])
#define ZK_WGMMA_S0 "%0, %1, %2, %3"
#define ZK_WGMMA_S4 ", %4, %5, %6, %7"
#define ZK_WGMMA_S8 ", %8, %9, %10, %11"
#define ZK_WGMMA_S12 ", %12, %13, %14, %15"
#define ZK_WGMMA_S16 ", %16, %17, %18, %19, %20, %21, %22, %23"
#define ZK_WGMMA_P0                                                                                                    \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "     \
  "%24, %25, %26, %27, %28, %29, %30, %31"
#define ZK_WGMMA_P32                                                                                                   \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define ZK_WGMMA_P48                                                                                                   \
  ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define ZK_WGMMA_P64                                                                                                   \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, "   \
  "%86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define ZK_WGMMA_P96                                                                                                   \
  ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, "   \
  "%115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

// d = accumulate ? d + A B : A B, which is a chain's first step, from +0. zk_wgmma: both operands in shared memory;
// zk_wgmma_ra: A in registers. Q0 .. Q6 are the names of the operands behind the accumulators.
template <int N> struct zk_wgmma_shape;

#define ZK_WGMMA_SHAPE(N, NAMES, Q0, Q1, Q2, Q3, Q4, Q5, Q6, ...)                                                      \
  template <> struct zk_wgmma_shape<N> {                                                                               \
    template <bool A_OUTER, bool B_OUTER>                                                                              \
    static __device__ __forceinline__ void run(float (&d)[N / 2], uint64_t a, uint64_t b, int accumulate) {            \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " Q2 ", 0;\n"                                                     \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {" NAMES "}, " Q0 ", " Q1                 \
                   ", p, 1, 1, " Q3 ", " Q4 ";\n}"                                                                     \
                   : __VA_ARGS__                                                                                       \
                   : "l"(a), "l"(b), "r"(accumulate), "n"((int)A_OUTER), "n"((int)B_OUTER));                           \
    }                                                                                                                  \
    template <bool B_OUTER>                                                                                            \
    static __device__ __forceinline__ void run_ra(float (&d)[N / 2], const uint32_t a[4], uint64_t b,                  \
                                                  int accumulate) {                                                    \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " Q5 ", 0;\n"                                                     \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {" NAMES "}, {" Q0 ", " Q1 ", " Q2        \
                   ", " Q3 "}, " Q4 ", p, 1, 1, " Q6 ";\n}"                                                            \
                   : __VA_ARGS__                                                                                       \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate), "n"((int)B_OUTER));          \
    }                                                                                                                  \
  };

ZK_WGMMA_SHAPE(16, ZK_WGMMA_S0 ZK_WGMMA_S4, "%8", "%9", "%10", "%11", "%12", "%13", "%14", ZK_WGMMA_D8(0))
ZK_WGMMA_SHAPE(24, ZK_WGMMA_S0 ZK_WGMMA_S4 ZK_WGMMA_S8, "%12", "%13", "%14", "%15", "%16", "%17", "%18", ZK_WGMMA_D8(0),
               ZK_WGMMA_D4(8))
ZK_WGMMA_SHAPE(32, ZK_WGMMA_S0 ZK_WGMMA_S4 ZK_WGMMA_S8 ZK_WGMMA_S12, "%16", "%17", "%18", "%19", "%20", "%21", "%22",
               ZK_WGMMA_D16(0))
ZK_WGMMA_SHAPE(48, ZK_WGMMA_S0 ZK_WGMMA_S4 ZK_WGMMA_S8 ZK_WGMMA_S12 ZK_WGMMA_S16, "%24", "%25", "%26", "%27", "%28",
               "%29", "%30", ZK_WGMMA_D16(0), ZK_WGMMA_D8(16))
ZK_WGMMA_SHAPE(64, ZK_WGMMA_P0, "%32", "%33", "%34", "%35", "%36", "%37", "%38", ZK_WGMMA_D16(0), ZK_WGMMA_D16(16))
ZK_WGMMA_SHAPE(96, ZK_WGMMA_P0 ZK_WGMMA_P32, "%48", "%49", "%50", "%51", "%52", "%53", "%54", ZK_WGMMA_D16(0),
               ZK_WGMMA_D16(16), ZK_WGMMA_D16(32))
ZK_WGMMA_SHAPE(128, ZK_WGMMA_P0 ZK_WGMMA_P32 ZK_WGMMA_P48, "%64", "%65", "%66", "%67", "%68", "%69", "%70",
               ZK_WGMMA_D16(0), ZK_WGMMA_D16(16), ZK_WGMMA_D16(32), ZK_WGMMA_D16(48))
ZK_WGMMA_SHAPE(192, ZK_WGMMA_P0 ZK_WGMMA_P32 ZK_WGMMA_P48 ZK_WGMMA_P64, "%96", "%97", "%98", "%99", "%100", "%101",
               "%102", ZK_WGMMA_D16(0), ZK_WGMMA_D16(16), ZK_WGMMA_D16(32), ZK_WGMMA_D16(48), ZK_WGMMA_D16(64),
               ZK_WGMMA_D16(80))
ZK_WGMMA_SHAPE(256, ZK_WGMMA_P0 ZK_WGMMA_P32 ZK_WGMMA_P48 ZK_WGMMA_P64 ZK_WGMMA_P96, "%128", "%129", "%130", "%131",
               "%132", "%133", "%134", ZK_WGMMA_D16(0), ZK_WGMMA_D16(16), ZK_WGMMA_D16(32), ZK_WGMMA_D16(48),
               ZK_WGMMA_D16(64), ZK_WGMMA_D16(80), ZK_WGMMA_D16(96), ZK_WGMMA_D16(112))

template <bool A_OUTER, bool B_OUTER, int REGISTERS>
static __device__ __forceinline__ void zk_wgmma(float (&d)[REGISTERS], uint64_t a, uint64_t b, int accumulate) {
  zk_wgmma_shape<2 * REGISTERS>::template run<A_OUTER, B_OUTER>(d, a, b, accumulate);
}
template <bool B_OUTER, int REGISTERS>
static __device__ __forceinline__ void zk_wgmma_ra(float (&d)[REGISTERS], const uint32_t a[4], uint64_t b,
                                                   int accumulate) {
  zk_wgmma_shape<2 * REGISTERS>::template run_ra<B_OUTER>(d, a, b, accumulate);
}

#endif
#endif
