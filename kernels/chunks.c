// Chunk lists come from the trainer; this is what every operation that sums over tokens relies on.
#include "kernels/chunks.h"

zk_status zk_chunks_validate(const zk_chunks *chunks, int64_t num_rows) {
  if (chunks->num_chunks < 0 || chunks->row_start[0] != 0 || chunks->row_start[chunks->num_chunks] != num_rows)
    return ZK_FAIL(ZK_INTERNAL, "chunks do not cover the %lld rows", (long long)num_rows);
  for (int32_t c = 0; c < chunks->num_chunks; c++)
    if (chunks->row_start[c + 1] < chunks->row_start[c] ||
        chunks->row_start[c + 1] - chunks->row_start[c] > ZK_CHUNK_TOKENS)
      return ZK_FAIL(ZK_INTERNAL, "chunk %d has rows [%d, %d); at most %d, ascending", c, chunks->row_start[c],
                     chunks->row_start[c + 1], ZK_CHUNK_TOKENS);
  return ZK_OK;
}
