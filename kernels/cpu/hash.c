// Hashes of bits on a CPU: integer sums, in any order.
#include "kernels/backend.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"

zk_status zk_cpu_hash_elements(zk_stream *stream, int32_t element_bytes, int64_t num_elements, uint64_t first_index,
                           const void *data, uint64_t *sum) {
  const zk_device *device = zk_stream_device(stream);
  const zk_cpu_isa isa = zk_device_isa(device);
  const int threads = zk_cpu_threads_for(device, num_elements);
  uint64_t total = 0;
#pragma omp parallel for schedule(static) num_threads(threads) reduction(+ : total)
  for (int64_t i = 0; i < num_elements; i += ZK_CPU_GRAIN) {
    const int64_t n = zk_cpu_min(ZK_CPU_GRAIN, num_elements - i);
    total += element_bytes == 4
                 ? ZK_ISA_CALL(isa, zk_cpu_hash32, n, first_index + (uint64_t)i, (const uint32_t *)data + i)
                 : ZK_ISA_CALL(isa, zk_cpu_hash16, n, first_index + (uint64_t)i, (const uint16_t *)data + i);
  }
  *sum = total;
  return ZK_OK;
}
