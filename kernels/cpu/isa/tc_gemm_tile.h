// One block of a tensor-core multiplication: its accumulators, one step's factors, and what decides whether an output may have left the
// range.
#ifndef ZK_KERNELS_CPU_ISA_TC_GEMM_TILE_H
#define ZK_KERNELS_CPU_ISA_TC_GEMM_TILE_H

#include "kernels/cpu/tc_gemm.h"
#include "kernels/tensor_core.h"

#if !defined(ZK_ISA_scalar)
#include "kernels/cpu/isa/tc_simd.h"

typedef struct {
  float acc[ZK_TC_BLOCK_ROWS][ZK_TC_COLUMNS];
  uint16_t a[ZK_TC_BLOCK_ROWS][ZK_TC_STEP], b[ZK_TC_STEP][ZK_TC_COLUMNS]; // this step's bf16
  double b_signed[ZK_TC_STEP][2][ZK_TC_COLUMNS]; // b where positive, else 0; b where negative, else 0
  int16_t b_exponent[ZK_TC_STEP][ZK_TC_COLUMNS];
  uint16_t a_largest[ZK_TC_BLOCK_ROWS][ZK_TC_STEP], b_largest[ZK_TC_COLUMNS]; // magnitudes, over all steps
} __attribute__((aligned(64))) zk_tc_tile;

// This step's a and b: k from k0, zeros past the operand.
#define zk_tc_load_step ZK_ISA_FN(zk_tc_load_step)
void zk_tc_load_step(const zk_tc_gemm *call, int64_t row, int rows, int64_t col, int cols, int64_t k0,
                     zk_tc_tile *tile);

// All steps of the block on the accumulators in tile->acc. The caller has set the processor to round toward zero. Outputs whose factors or
// accumulator come near the top of f32's range are meaningless.
#define zk_tc_tile_steps ZK_ISA_FN(zk_tc_tile_steps)
void zk_tc_tile_steps(const zk_tc_gemm *call, int64_t row, int rows, int64_t col, int cols, zk_tc_tile *tile);
#endif

#endif
