// The policy-gradient algorithms: each one row of a table over shared pieces. A row is a preset, nothing else: what `algorithm.name` gives as the
// defaults of other algorithm.* keys. Code asks for those keys and never for the name, so that any mixture can be written in a file.
#ifndef ZK_SHARED_ALGORITHMS_H
#define ZK_SHARED_ALGORITHMS_H

// X(id, name, baseline, scale, ratio, clip, clip_low, clip_high, loss_aggregation, epochs, minibatches, dynamic_sampling, overlong.penalty, what it
// is and whence). Values are written as in a config file. With N samples, their advantages A, and r the policy's probability over the sampler's, a loss is
//   clip none         -r A                   (ratio none: -A log p)
//   clip ppo          -min(r A, clip(r, 1 - low, 1 + high) A)
//   clip cispo        -constant(clip(r, 1 - low, 1 + high)) A log p
//   ratio token       r of token t: p_t / p_sampler_t;  ratio sequence: exp(mean over t of log(p_t / p_sampler_t)), one for all tokens of a sample
//   token_mean        the mean over all trained tokens;  sequence_mean: the mean over samples of their tokens' mean;
//   constant          the sum over tokens / (N x algorithm.loss_constant)
// REINFORCE and RLOO sum over the tokens of a sequence: `constant` is that, up to one factor that AdamW does not see.
#define ZK_ALGORITHM_LIST(X)                                                                                                                          \
  X(GRPO, grpo, group_mean, std, token, ppo, 0.2, 0.2, token_mean, 1, 1, false, 0,                                                                    \
    "Shao et al. 2024, arXiv 2402.03300, equations 3 and 4; mean over all tokens as most implementations have it")                                    \
  X(REINFORCE, reinforce, none, none, none, none, 0.2, 0.2, constant, 1, 1, false, 0, "Williams 1992, the plain policy gradient")                     \
  X(REINFORCE_PP, reinforce_pp, batch_mean, batch_std, token, ppo, 0.2, 0.2, token_mean, 1, 1, false, 0,                                              \
    "REINFORCE++, Hu 2025, arXiv 2501.03262: advantages normalised over the batch")                                                                   \
  X(REINFORCE_PP_BASELINE, reinforce_pp_baseline, group_mean, batch_std, token, ppo, 0.2, 0.2, token_mean, 1, 1, false, 0,                            \
    "the same paper's variant for groups: less the group's mean, then normalised over the batch")                                                     \
  X(RLOO, rloo, leave_one_out, none, none, none, 0.2, 0.2, constant, 1, 1, false, 0,                                                                  \
    "Ahmadian et al. 2024, arXiv 2402.14740: the baseline is the mean of the group's other samples")                                                  \
  X(DR_GRPO, dr_grpo, group_mean, none, token, ppo, 0.2, 0.2, constant, 1, 1, false, 0,                                                               \
    "Liu et al. 2025, arXiv 2503.20783: neither the group's deviation nor the sample's length divides")                                               \
  X(DAPO, dapo, group_mean, std, token, ppo, 0.2, 0.28, token_mean, 1, 1, true, 1,                                                                    \
    "Yu et al. 2025, arXiv 2503.14476: a higher upper clip, mean over all tokens, dynamic sampling, soft overlong punishment")                        \
  X(GSPO, gspo, group_mean, std, sequence, ppo, 0.0003, 0.0004, sequence_mean, 1, 1, false, 0,                                                        \
    "Zheng et al. 2025, arXiv 2507.18071, equations 5 to 7: one ratio a sample")                                                                      \
  X(CISPO, cispo, group_mean, std, token, cispo, 1, 4, token_mean, 1, 1, false, 0,                                                                    \
    "MiniMax 2025, arXiv 2506.13585, equation 4: the clipped ratio is a constant weight, no token is dropped; no lower clip; the "                    \
    "paper gives no upper one, 5 is of Khatri et al. 2025, arXiv 2510.13786")                                                                         \
  X(PPO, ppo, group_mean, batch_std, token, ppo, 0.2, 0.2, token_mean, 3, 4, false, 0,                                                                \
    "Schulman et al. 2017, arXiv 1707.06347, equation 7, three epochs of four minibatches; the group's mean in the critic's place")

typedef enum {
#define X(id, ...) ZK_ALGORITHM_##id,
  ZK_ALGORITHM_LIST(X)
#undef X
      ZK_NUM_ALGORITHMS
} zk_algorithm;

// What a row sets: paths of config keys, in the order of the table.
enum { ZK_ALGORITHM_NUM_KEYS = 11 };
extern const char *const zk_algorithm_keys[ZK_ALGORITHM_NUM_KEYS];

typedef struct {
  const char *name, *paper;
  const char *values[ZK_ALGORITHM_NUM_KEYS]; // of those keys, as a file would write them
} zk_algorithm_row;
extern const zk_algorithm_row zk_algorithms[ZK_NUM_ALGORITHMS];

#endif
