// The suite of `zerokl bench` that takes training steps, whole and phase by phase.
#ifndef ZK_TRAINER_BENCH_TRAIN_H
#define ZK_TRAINER_BENCH_TRAIN_H

#include "kernels/bench.h"

// On a GPU Qwen3 of 0.6B, 1.7B and 4B, on four and more 8B too, with four sequences of 4,096 tokens a GPU, each in `bf16` and in `vendor`; on a CPU the 135M Llama
// in f32 (its rival is experiments/bench/pytorch_cpu.py). A step is all that a step of a run does once its batch is there. "% floor" of a GPU's is MFU
// (trainer/flops.h). Collective: under mpirun it is one step of all ranks.
extern const zk_bench_suite zk_bench_suite_train;

#endif
