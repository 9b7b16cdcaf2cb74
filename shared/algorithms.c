// The table of algorithms as texts.
#include "shared/algorithms.h"

const char *const zk_algorithm_keys[ZK_ALGORITHM_NUM_KEYS] = {
    "algorithm.advantage.baseline", "algorithm.advantage.scale", "algorithm.ratio",           "algorithm.clip",
    "algorithm.clip_low",           "algorithm.clip_high",       "algorithm.loss_aggregation", "algorithm.epochs",
    "algorithm.minibatches",        "algorithm.dynamic_sampling", "algorithm.overlong.penalty"};

const zk_algorithm_row zk_algorithms[ZK_NUM_ALGORITHMS] = {
#define X(id, name, baseline, scale, ratio, clip, low, high, aggregation, epochs, minibatches, dynamic, penalty, paper)                                                  \
  {#name, paper, {#baseline, #scale, #ratio, #clip, #low, #high, #aggregation, #epochs, #minibatches, #dynamic, #penalty}},
    ZK_ALGORITHM_LIST(X)
#undef X
};
