// Elementwise operations in either numerics: pieces of ZK_CPU_GRAIN elements shared among threads.
#ifndef ZK_KERNELS_CPU_ELEMENTWISE_H
#define ZK_KERNELS_CPU_ELEMENTWISE_H

#include "kernels/bf16.h"
#include "kernels/cpu/parallel.h"
#include "kernels/numerics.h"

// Calls loop `name` of kernels/cpu/rows.h, or `name`_bf16, once for each piece. The arguments behind the number of elements are written
// with `element` for the type that the numerics store and `i` for the piece's first element: `(const element *)x + i`.
// clang-format off
#define ZK_CPU_ELEMENTWISE(stream, numerics, num_elements, name, ...)                                                  \
  do {                                                                                                                 \
    const zk_device *device_ = zk_stream_device(stream);                                                               \
    const zk_cpu_isa isa_ = zk_device_isa(device_);                                                                    \
    const int64_t num_ = (num_elements);                                                                               \
    const int threads_ = zk_cpu_threads_for(device_, num_);                                                            \
    _Pragma("omp parallel for schedule(static) num_threads(threads_)")                                                 \
    for (int64_t i = 0; i < num_; i += ZK_CPU_GRAIN) {                                                                 \
      const int64_t n_ = zk_cpu_min(ZK_CPU_GRAIN, num_ - i);                                                           \
      if ((numerics) == ZK_F32) {                                                                                      \
        typedef float element;                                                                                         \
        ZK_ISA_CALL(isa_, name, n_, __VA_ARGS__);                                                                      \
      } else {                                                                                                         \
        typedef zk_bf16 element;                                                                                       \
        ZK_ISA_CALL(isa_, name##_bf16, n_, __VA_ARGS__);                                                               \
      }                                                                                                                \
    }                                                                                                                  \
  } while (0)
// clang-format on

#endif
