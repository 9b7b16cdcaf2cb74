// All layers of one decoded token as one kernel, whose blocks stay on their multiprocessors: what a step of a small
// model waits for is not memory but the way from each operation to the next, and there are six of them a layer. Sizes
// are known when it is compiled, for a warp that is alone with its work waits for each instruction: an index is not
// worked out anew.
//
// Roles. Each block owns rows of every product for the whole launch: a tile of q, k and v's rows, one of the attention
// output's, one or more of gate and up's (8 rows of gate, then the same 8 of up), one of down's; and items of
// attention, a split of the keys for one KV head and half of V's columns. Its last warp asks the copy engine for all
// that the block will ever read in the order in which it will be read, weights and cached keys of all layers, into one
// ring of slots: it runs ahead of the arithmetic as far as the ring goes, most of a layer, and never waits for another
// block. The other eight warps compute.
//
// Mail. What one block makes and others read goes through global memory word by word: each word has its value beside
// the number of its layer (its epoch), written and read as one, so a reader that sees the number has the value. No
// flag, no fence and no counter stands between them. A word is written once a layer. Nobody writes it again before all
// have read it: who writes a mailbox in the next layer has, through the layer's other mail, waited for every block that
// reads this one. What all blocks read has several copies: 128 readers of one cache line wait for each other. Epochs go
// on from launch to launch: each block keeps its last one in memory for itself.
//
// The bits are those of the operations one by one: an output is one chain of k16 steps in one warp's accumulators, a
// norm is that of rmsnorm_rows.cuh, heads are turned by rope_rows.cuh's functions, a split is computed and merged as in
// attention_cluster_tile.cuh, and each value is rounded where it would have been stored.
//
// The launch is cooperative: all blocks run at once, and none waits for anything but blocks of its own launch.
#ifndef ZK_KERNELS_CUDA_RESIDENT_CUH
#define ZK_KERNELS_CUDA_RESIDENT_CUH

#include "kernels/cuda/attention_bf16.cuh"
#include "kernels/cuda/rmsnorm_rows.cuh"
#include "kernels/cuda/tma.cuh"
#include "kernels/cuda/words.cuh"

enum {
  ZK_RESIDENT_BLOCKS = 128, // that own rows; those beyond have attention alone
  ZK_RESIDENT_WARPS = 8,    // that compute
  ZK_RESIDENT_THREADS = 32 * ZK_RESIDENT_WARPS,
  ZK_RESIDENT_SLOT = 16384,
  ZK_RESIDENT_DIM = 128,
  ZK_RESIDENT_KEYS = 64, // of K or V in a slot: [D / 64][keys][64], swizzled (tma.cuh)
  ZK_RESIDENT_SPLIT = ZK_ATTN_SPLIT_BF16,
  ZK_RESIDENT_PAIRS = 24, // rows of gate, and as many of up, in a tile
  ZK_RESIDENT_COPIES = 4, // of mail that all blocks read
};

// A tile of a product: weights of ROWS rows come in boxes of 64 k, as many to a slot as it holds, a power of two.
template <int ROWS_, int K_> struct zk_resident_tile {
  static constexpr int ROWS = ROWS_, K = K_, BOX_BYTES = ROWS * 128, WARPS = (ROWS + 15) / 16;
  static constexpr int SLOT_BOXES = 16 * BOX_BYTES <= ZK_RESIDENT_SLOT  ? 16
                                    : 8 * BOX_BYTES <= ZK_RESIDENT_SLOT ? 8
                                    : 4 * BOX_BYTES <= ZK_RESIDENT_SLOT ? 4
                                                                        : 2;
  static constexpr int SLOTS = K / 64 / SLOT_BOXES;
  static_assert(ROWS % 8 == 0 && ROWS <= 64 && K % (64 * SLOT_BOXES) == 0 && SLOT_BOXES * BOX_BYTES <= ZK_RESIDENT_SLOT,
                "boxes fill slots");
};

// A model's sizes, and what each block owns.
template <int HIDDEN_, int INNER_, int HEADS_, int KV_HEADS_> struct zk_resident_shape {
  static constexpr int HIDDEN = HIDDEN_, INNER = INNER_, HEADS = HEADS_, KV_HEADS = KV_HEADS_, GROUP = HEADS / KV_HEADS;
  static constexpr int Q_ROWS = HEADS * ZK_RESIDENT_DIM, K_ROWS = KV_HEADS * ZK_RESIDENT_DIM;
  static constexpr int WIDEST = Q_ROWS > INNER ? Q_ROWS : INNER,
                       PASSES = INNER / (ZK_RESIDENT_BLOCKS * ZK_RESIDENT_PAIRS);
  using qkv = zk_resident_tile<(Q_ROWS + 2 * K_ROWS) / ZK_RESIDENT_BLOCKS, HIDDEN>;
  using o = zk_resident_tile<HIDDEN / ZK_RESIDENT_BLOCKS, Q_ROWS>;
  using gate_up = zk_resident_tile<2 * ZK_RESIDENT_PAIRS, HIDDEN>; // 8 rows of gate, the same 8 of up, and so on
  using down = zk_resident_tile<HIDDEN / ZK_RESIDENT_BLOCKS, INNER>;
  static_assert(HIDDEN % 1024 == 0 && INNER % (ZK_RESIDENT_BLOCKS * ZK_RESIDENT_PAIRS) == 0 && Q_ROWS % 1024 == 0 &&
                    GROUP == 2 && ZK_RESIDENT_DIM % qkv::ROWS == 0,
                "what the kernel is written for");
};

// What differs from layer to layer; in device memory.
struct zk_resident_vectors {
  const zk_bf16 *attn_norm, *mlp_norm, *q_norm, *k_norm; // the last two may be NULL
  zk_bf16 *k_cache, *v_cache;
};
struct zk_resident_layer {
  CUtensorMap qkv[3], o, gate_up, down; // a slot to a copy: [boxes][rows][64 k]
  CUtensorMap k, v;                     // a slot to a copy
  zk_resident_vectors vectors;
};

struct zk_resident_plan {
  const zk_resident_layer *layers;
  int32_t num_layers, page_tokens;
  float eps;
  zk_attn_exp_bf16 weight;
  // The token: its hidden state, in and out; where it stands.
  zk_bf16 *x;
  const int32_t *position, *page_table;
  const float *cos_table, *sin_table;
  // Mail: bf16 values beside 16 bits of an epoch, or f32 beside 32. a, y, act, x: [COPIES][values], which the blocks
  // read by turns; part: [head][split][D]; bl: [head][split] of (b, l).
  uint32_t *qkv_mail, *a_mail, *y_mail, *act_mail, *x_mail;
  uint64_t *part_mail;
  ulonglong2 *bl_mail;
  int32_t most_splits;
  uint32_t *epochs; // [blocks], each block's own
};

// ---- the ring

template <int SLOTS> struct zk_resident_ring {
  char *base;
  uint64_t *full, *empty;
  int32_t slot;
  uint32_t parity;

  __device__ __forceinline__ void next() {
    if (++slot == SLOTS) slot = 0, parity ^= 1;
  }
  __device__ __forceinline__ void skip(int32_t n) {
    for (slot += n; slot >= SLOTS; slot -= SLOTS) parity ^= 1;
  }
  __device__ __forceinline__ char *at() const { return base + slot * ZK_RESIDENT_SLOT; }
  __device__ __forceinline__ void wait() const { zk_mbar_wait(&full[slot], parity); }
  __device__ __forceinline__ bool is_there() const { return zk_mbar_try(&full[slot], parity); }
  // By a warp: it has read the slot, and so have `share` of the computing warps, which are all counted.
  __device__ __forceinline__ void pass(uint32_t share) const {
    __syncwarp();
    if (threadIdx.x % 32 == 0) zk_mbar_arrive_many(&empty[slot], share);
  }
};

// The part of the eight computing warps that warp `warp` of `of` stands for when it passes a slot.
static __device__ __forceinline__ uint32_t zk_resident_share(int32_t warp, int32_t of) {
  return (uint32_t)(ZK_RESIDENT_WARPS / of + (warp < ZK_RESIDENT_WARPS % of));
}

// ---- mail

static __device__ __forceinline__ void zk_mail_put(uint32_t *to, float value, uint32_t epoch) {
  zk_word_put(to, (uint32_t)zk_float_to_bf16(value).bits | epoch << 16);
}
static __device__ __forceinline__ void zk_mail_put(uint64_t *to, float value, uint32_t epoch) {
  zk_word_put(to, (uint64_t)zk_float_bits(value) | (uint64_t)epoch << 32);
}
// Above 0xffff where a word is not of this epoch.
static __device__ __forceinline__ uint32_t zk_mail_differs(const uint4 &v, uint32_t epoch) {
  const uint32_t e = epoch << 16;
  return (v.x ^ e) | (v.y ^ e) | (v.z ^ e) | (v.w ^ e);
}
static __device__ __forceinline__ zk_words<2> zk_mail_values(const uint4 &v) {
  return {{(v.x & 0xffffu) | v.y << 16, (v.z & 0xffffu) | v.w << 16}};
}
static __device__ __forceinline__ float zk_mail_value(uint64_t word) { return zk_bits_float((uint32_t)word); }

// Between two looks at mail that had not all come. In a test build a wait that never ends becomes an error.
struct zk_mail_spin {
#ifdef ZK_SPIN_LIMIT
  int turns = 0;
  __device__ __forceinline__ bool again() {
    if (++turns > ZK_SPIN_LIMIT) asm volatile("trap;");
    return true;
  }
#else
  __device__ __forceinline__ bool again() { return zk_word_again(), true; }
#endif
};

// The computing threads meet.
static __device__ __forceinline__ void zk_resident_meet() { zk_barrier(1, ZK_RESIDENT_THREADS); }

// N values of mail as they come, to shared memory, by the computing threads. They meet first: warps that have no
// rows to multiply would ask again and again meanwhile, and be in the way of those who write.
template <int N>
static __device__ __forceinline__ void zk_mail_take(const uint32_t *mail, uint32_t epoch, zk_bf16 *to) {
  constexpr int STRIDE = ZK_RESIDENT_THREADS * 4, PIECES = N / STRIDE, AT_ONCE = PIECES < 3 ? PIECES : 3;
  static_assert(PIECES % AT_ONCE == 0, "rounds alike");
  const int32_t first = (int32_t)threadIdx.x * 4;
  zk_resident_meet();
  mail += (int32_t)blockIdx.x % ZK_RESIDENT_COPIES * N + first;
#pragma unroll
  for (int round = 0; round < PIECES; round += AT_ONCE) {
    uint4 v[AT_ONCE];
    uint32_t wrong;
    zk_mail_spin spin;
    do {
      wrong = 0;
#pragma unroll
      for (int i = 0; i < AT_ONCE; i++) v[i] = zk_word_get4(mail + (round + i) * STRIDE);
#pragma unroll
      for (int i = 0; i < AT_ONCE; i++) wrong |= zk_mail_differs(v[i], epoch);
    } while (wrong > 0xffffu && spin.again());
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++) *(zk_words<2> *)(to + first + (round + i) * STRIDE) = zk_mail_values(v[i]);
  }
}

// A thread's part of a norm's weight, read before what is normalised is there.
template <int WIDTH> struct zk_resident_norm_weight {
  static constexpr int PIECES = WIDTH / (4 * ZK_RESIDENT_THREADS);
  zk_words<2> w[PIECES];
  __device__ __forceinline__ zk_resident_norm_weight(const zk_bf16 *weight) {
#pragma unroll
    for (int i = 0; i < PIECES; i++)
      w[i] = *(const zk_words<2> *)(weight + (i * ZK_RESIDENT_THREADS + (int32_t)threadIdx.x) * 4);
  }
};

// The norm of `raw`, which is there, to `to`. Every warp finds the factor for itself.
template <int WIDTH>
static __device__ __forceinline__ void
zk_resident_norm(const zk_bf16 *raw, const zk_resident_norm_weight<WIDTH> &weight, float eps, zk_bf16 *to) {
  const int32_t lane = (int32_t)threadIdx.x % 32;
  float sum[4] = {};
#pragma unroll
  for (int s = 0; s < WIDTH / ZK_LANES; s++) {
    const zk_words<2> v = *(const zk_words<2> *)(raw + s * ZK_LANES + lane * 4);
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const float low = zk_low_bf16(v.w[i]), high = zk_high_bf16(v.w[i]);
      sum[2 * i] = fmaf(low, low, sum[2 * i]), sum[2 * i + 1] = fmaf(high, high, sum[2 * i + 1]);
    }
  }
  const float scale = zk_rms_scale(zk_lanes_of_group<32>(sum), WIDTH, eps);
#pragma unroll
  for (int i = 0; i < zk_resident_norm_weight<WIDTH>::PIECES; i++) {
    const int32_t h = (i * ZK_RESIDENT_THREADS + (int32_t)threadIdx.x) * 4;
    zk_words<2> v = *(const zk_words<2> *)(raw + h);
    zk_rms_apply(v, weight.w[i], scale);
    *(zk_words<2> *)(to + h) = v;
  }
  zk_resident_meet();
}

#endif
