// Tensor maps are made by the driver, whose entry point is found at run time: no build links it.
#include "kernels/cuda/tma.cuh"

#ifndef ZK_SIMT // tests/simt gives its own
#include <pthread.h>

#include "kernels/cuda/cuda.cuh"

typedef CUresult encode_function(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *,
                                 const cuuint64_t *, const cuuint32_t *, const cuuint32_t *, CUtensorMapInterleave,
                                 CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

static pthread_once_t once = PTHREAD_ONCE_INIT;
static encode_function *encode; // NULL: not there

static void find(void) {
  void *function = NULL;
  cudaDriverEntryPointQueryResult found;
  if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found) ==
          cudaSuccess &&
      found == cudaDriverEntryPointSuccess)
    encode = (encode_function *)function;
}

extern "C" zk_status zk_tma_map(zk_numerics numerics, int rank, const void *base, const uint64_t *dims,
                                const uint64_t *strides, const uint32_t *box, CUtensorMapSwizzle swizzle,
                                CUtensorMap *out) {
  static const cuuint32_t every[5] = {1, 1, 1, 1, 1};
  pthread_once(&once, find);
  if (encode == NULL) return ZK_FAIL(ZK_UNSUPPORTED, "the driver makes no tensor maps: install one of CUDA 12 or later");
  const CUresult result =
      encode(out, numerics == ZK_F32 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT32 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
             (cuuint32_t)rank, const_cast<void *>(base), reinterpret_cast<const cuuint64_t *>(dims),
             reinterpret_cast<const cuuint64_t *>(strides), box, every, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS)
    return ZK_FAIL(ZK_DEVICE, "CUDA: cuTensorMapEncodeTiled fails with %d (rank %d, %llu x %llu, box %u x %u)",
                   (int)result, rank, (unsigned long long)dims[1], (unsigned long long)dims[0], box[1], box[0]);
  return ZK_OK;
}
#endif
