// The suite of `zerokl bench` that runs a whole model: decode, prefill, a training step.
#ifndef ZK_TRAINER_BENCH_MODEL_H
#define ZK_TRAINER_BENCH_MODEL_H

#include "kernels/bench.h"

// On a CPU a Llama of 135M parameters (SmolLM2's shape) in f32, on a GPU a Qwen3 of 0.6B in bf16, weights random: what the engine and the
// trainer make of the kernels.
extern const zk_bench_suite zk_bench_suite_model;

#endif
