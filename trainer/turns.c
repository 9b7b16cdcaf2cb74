// Rest and wake.
#include "trainer/turns.h"

#include "shared/clock.h"
#include "shared/log.h"
#include "trainer/plan.h"

zk_status zk_turns_open(zk_session *s, zk_turns *out) {
  *out = (zk_turns){.comm = s->comm, .device = s->device, .awake = ZK_SIDE_SAMPLER};
  ZK_TRY(zk_plan_turns(s, &out->is_on));
  return out->is_on ? zk_comm_agree(s->comm, zk_side_rest(s->device, ZK_SIDE_TRAINER)) : ZK_OK;
}

static double gib(size_t bytes) { return (double)bytes / 1073741824.0; }

static zk_status wake(const zk_turns *t, zk_side side) {
  const zk_status st = zk_side_wake(t->device, side);
  if (st != ZK_OUT_OF_MEMORY) return st;
  (void)zk_side_rest(t->device, side); // what it did get would not count as free
  const size_t bytes = zk_side_bytes(t->device, side), available = zk_device_memory_free(t->device);
  if (side == ZK_SIDE_SAMPLER)
    return ZK_FAIL(st, "sampling takes its turn at the memory: the KV cache needs %.2f GiB again, and %.2f GiB are free on %s: end what has taken the rest "
                   "and start the same command again, or lower rollout.kv_bytes or rollout.max_batch",
                   gib(bytes), gib(available), zk_device_describe(t->device));
  return ZK_FAIL(st, "training takes its turn at the memory: gradients and activations need %.2f GiB again, and %.2f GiB are free on %s: end what has taken "
                 "the rest and start the same command again, or set trainer.recompute", gib(bytes), gib(available), zk_device_describe(t->device));
}

static zk_status turn(zk_turns *t, zk_side side) {
  const bool to_sampler = side == ZK_SIDE_SAMPLER;
  const double start = zk_clock_s();
  ZK_TRY(to_sampler ? zk_side_rest(t->device, ZK_SIDE_TRAINER) : zk_engine_rest(t->engine));
  const double given = zk_clock_s();
  ZK_TRY(wake(t, side));
  ZK_LOG(DEBUG, "run", "memory for %s: given back in %.1f ms, taken in %.1f ms", to_sampler ? "sampling" : "training", (given - start) * 1e3,
         (zk_clock_s() - given) * 1e3);
  return ZK_OK;
}

zk_status zk_turns_to(zk_turns *t, zk_side side, zk_status local) {
  if (!t->is_on) return local;
  const double start = zk_clock_s();
  if (local == ZK_OK && t->awake != side) local = turn(t, side);
  ZK_TRY(zk_comm_agree(t->comm, local));
  t->seconds += zk_clock_s() - start, t->awake = side;
  return ZK_OK;
}
