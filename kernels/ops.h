// The operations of the contract: one table that faults, call counters, `zerokl check` and `zerokl bench` read.
#ifndef ZK_KERNELS_OPS_H
#define ZK_KERNELS_OPS_H

// X(enumerator, name)
#define ZK_OP_LIST(X)                                                                                                  \
  X(EMBEDDING, "embedding")                                                                                            \
  X(LINEAR, "linear")                                                                                                  \
  X(RMSNORM, "rmsnorm")                                                                                                \
  X(ROPE, "rope")                                                                                                      \
  X(KV_WRITE, "kv_write")                                                                                              \
  X(ATTENTION, "attention")                                                                                            \
  X(SWIGLU, "swiglu")                                                                                                  \
  X(ADD, "add")                                                                                                        \
  X(SCALE, "scale")                                                                                                    \
  X(LMHEAD_LOGPROB, "lmhead_logprob")                                                                                  \
  X(LMHEAD_SAMPLE, "lmhead_sample")                                                                                    \
  X(EMBEDDING_BACKWARD, "embedding_backward")                                                                          \
  X(LINEAR_BACKWARD_INPUT, "linear_backward_input")                                                                    \
  X(LINEAR_BACKWARD_WEIGHT, "linear_backward_weight")                                                                  \
  X(RMSNORM_BACKWARD, "rmsnorm_backward")                                                                              \
  X(ROPE_BACKWARD, "rope_backward")                                                                                    \
  X(ATTENTION_BACKWARD, "attention_backward")                                                                          \
  X(SWIGLU_BACKWARD, "swiglu_backward")                                                                                \
  X(LMHEAD_BACKWARD, "lmhead_backward")                                                                                \
  X(SUM_SQUARES, "sum_squares")                                                                                        \
  X(ADAMW, "adamw")                                                                                                    \
  X(WEIGHTS_HASH, "weights_hash")                                                                                      \
  X(INIT_NORMAL, "init_normal")

typedef enum {
#define X(name, text) ZK_OP_##name,
  ZK_OP_LIST(X)
#undef X
      ZK_NUM_OPS
} zk_op;

#ifdef __cplusplus
extern "C" {
#endif
const char *zk_op_name(zk_op op); // "rmsnorm_backward"
#ifdef __cplusplus
}
#endif
#endif
