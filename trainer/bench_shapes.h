// The models that suites of `zerokl bench` run whole: their shapes, with random weights.
#ifndef ZK_TRAINER_BENCH_SHAPES_H
#define ZK_TRAINER_BENCH_SHAPES_H

#include "kernels/bench.h"
#include "shared/policy.h"

#define ZK_BENCH_WEIGHT_SCALE 0.03f // random weights are in [-this, this)

enum { ZK_BENCH_QWEN3_06B, ZK_BENCH_QWEN3_17B, ZK_BENCH_QWEN3_4B, ZK_BENCH_QWEN3_8B, ZK_BENCH_NUM_QWEN3 };
const char *zk_bench_qwen3_name(int shape); // "0.6B"
// Its sizes, each divided by --shrink.
zk_model_config zk_bench_qwen3(const zk_bench *bench, int shape);
// A Llama of 135M parameters: SmolLM2's shape.
zk_model_config zk_bench_llama_135m(void);

// A policy of this shape on the bench's device, its weights random and of a trained model's size. The caller closes it, after a failure too.
zk_status zk_bench_policy_open(zk_bench *bench, zk_numerics numerics, const zk_model_config *config, zk_policy *out);
// Floating-point operations of a row's forward products: all layers', the head's.
double zk_bench_layer_flops(const zk_policy *policy);
double zk_bench_head_flops(const zk_policy *policy);

#endif
