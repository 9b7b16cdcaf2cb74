// AdamW of a shard with the hashes of what it leaves: the device's single pass, or the operations one by one.
#include "kernels/adamw_shard.h"

#include "kernels/backend.h"
#include "kernels/hash.h"

// Elements [at, end) of the shard, all with weight decay or all without.
static zk_status stretch(zk_stream *stream, const zk_adamw_params *params, const zk_adamw_shard_desc *d, int decays, int64_t at, int64_t end) {
  const int64_t i = at - d->first;
  if (at == end) return ZK_OK;
  return zk_adamw(stream, d->numerics, params, decays, end - at, d->master + i, d->m + i, d->v + i, d->grad + i,
                  (char *)d->working + (size_t)i * zk_numerics_bytes(d->numerics));
}

static int64_t clamp(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }

static zk_status one_by_one(zk_stream *stream, const zk_adamw_params *params, const zk_adamw_shard_desc *d, zk_adamw_hashes *hashes) {
  const int64_t end = d->first + d->count;
  int64_t at = d->first;
  for (int32_t r = 0; r < d->num_fixed; r++) {
    const int64_t from = clamp(d->fixed[r].first, at, end), to = clamp(d->fixed[r].end, at, end);
    ZK_TRY(stretch(stream, params, d, 1, at, from));
    ZK_TRY(stretch(stream, params, d, 0, from, to));
    at = to;
  }
  ZK_TRY(stretch(stream, params, d, 1, at, end));
  ZK_TRY(zk_stream_wait(stream)); // a device that fails in the update is not taken for one that fails in a hash
  const uint64_t first = (uint64_t)d->first, total = (uint64_t)d->total;
  uint64_t sums[3];
  ZK_TRY(zk_hash_elements(stream, (int32_t)zk_numerics_bytes(d->numerics), d->count, first, d->working, &hashes->working));
  ZK_TRY(zk_hash_elements(stream, 4, d->count, first, d->master, &sums[0]));
  ZK_TRY(zk_hash_elements(stream, 4, d->count, total + first, d->m, &sums[1]));
  ZK_TRY(zk_hash_elements(stream, 4, d->count, 2 * total + first, d->v, &sums[2]));
  hashes->state = sums[0] + sums[1] + sums[2];
  return ZK_OK;
}

zk_status zk_adamw_shard(zk_stream *stream, const zk_adamw_params *params, const zk_adamw_shard_desc *desc, zk_adamw_hashes *hashes) {
  bool done = false;
  *hashes = (zk_adamw_hashes){0, 0};
  if (desc->first % 4 != 0) return ZK_FAIL(ZK_INTERNAL, "adamw: a shard from element %lld on", (long long)desc->first);
  if (desc->count == 0) return ZK_OK;
  if (!zk_stream_is_faulty(stream, ZK_OP_ADAMW) && !zk_stream_is_faulty(stream, ZK_OP_WEIGHTS_HASH))
    ZK_TRY(stream->device->kernels->adamw_shard_fused(stream, params, desc, hashes, &done));
  if (!done) return one_by_one(stream, params, desc, hashes);
  zk_stream_count(stream, ZK_OP_ADAMW);
  zk_stream_count(stream, ZK_OP_WEIGHTS_HASH);
  return ZK_OK;
}
