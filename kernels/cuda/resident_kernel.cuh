// The one-kernel decode step: the loader and the layers (resident.cuh).
#ifndef ZK_KERNELS_CUDA_RESIDENT_KERNEL_CUH
#define ZK_KERNELS_CUDA_RESIDENT_KERNEL_CUH

#include "kernels/cuda/resident_product.cuh"
#include "kernels/cuda/resident_values.cuh"
#include "kernels/cuda/sigmoid.cuh"

// A block's shared memory.
template <class Shape> struct zk_resident_memory {
  static constexpr int BEHIND =
      (int)sizeof(zk_resident_attention<Shape::GROUP>) + 2 * Shape::HIDDEN * 2 + Shape::WIDEST * 2 + 512;
  static constexpr int SLOTS = (227 * 1024 - BEHIND) / ZK_RESIDENT_SLOT;
  static_assert(SLOTS >= 8, "warps of a split's scores wait for a slot each");
  char ring[SLOTS][ZK_RESIDENT_SLOT];
  alignas(16) zk_bf16 raw[Shape::HIDDEN], narrow[Shape::HIDDEN],
      wide[Shape::WIDEST]; // before a norm; what products read
  alignas(16) zk_resident_attention<Shape::GROUP> attention;
  zk_resident_vectors vectors[2]; // of this layer and the next
  uint64_t full[SLOTS], empty[SLOTS];
};

// ---- what the block reads, in order, by one thread

template <class Tile, bool PAIRS, class Ring>
static __device__ __forceinline__ void zk_resident_ask(Ring &ring, const CUtensorMap *map, int32_t first) {
#pragma unroll 1
  for (int32_t box = 0; box < Tile::K / 64; box += Tile::SLOT_BOXES, ring.next()) {
    zk_mbar_wait(&ring.empty[ring.slot], ring.parity ^ 1);
    zk_mbar_arrive_expect(&ring.full[ring.slot], Tile::SLOT_BOXES * Tile::BOX_BYTES);
    if (PAIRS) zk_tma_load_5d(ring.at(), map, &ring.full[ring.slot], 0, 0, 0, first / 8, box);
    else zk_tma_load_3d(ring.at(), map, &ring.full[ring.slot], 0, first, box);
  }
}

// Where 64 keys of the split, from `first` on, lie in a cache: they are in one page. What is there behind the last key
// is somebody else's, and not used.
template <class Shape>
static __device__ __forceinline__ int32_t zk_resident_cache_row(const zk_resident_plan &p, const zk_resident_item &item,
                                                                int32_t first) {
  const int32_t key = item.split * ZK_RESIDENT_SPLIT + first, page = key / p.page_tokens;
  return (p.page_table[page] * Shape::KV_HEADS + item.kv_head - page) * p.page_tokens + key;
}
template <class Shape, class Ring>
static __device__ __forceinline__ void zk_resident_ask_k(Ring &ring, const zk_resident_plan &p, const CUtensorMap *map,
                                                         const zk_resident_item &item) {
#pragma unroll 1
  for (int32_t first = 0; first < item.num_keys; first += ZK_RESIDENT_KEYS, ring.next()) {
    const int32_t row = zk_resident_cache_row<Shape>(p, item, first);
    zk_mbar_wait(&ring.empty[ring.slot], ring.parity ^ 1);
    zk_mbar_arrive_expect(&ring.full[ring.slot], ZK_RESIDENT_SLOT);
    zk_tma_load_3d(ring.at(), map, &ring.full[ring.slot], 0, row, 0);
  }
}
template <class Shape, class Ring>
static __device__ __forceinline__ void zk_resident_ask_v(Ring &ring, const zk_resident_plan &p, const CUtensorMap *map,
                                                         const zk_resident_item &item) {
#pragma unroll 1
  for (int32_t first = 0; first < item.num_keys; first += ZK_BF16_KEYS, ring.next()) {
    const int32_t boxes = item.num_keys - first > ZK_RESIDENT_KEYS ? 2 : 1;
    zk_mbar_wait(&ring.empty[ring.slot], ring.parity ^ 1);
    zk_mbar_arrive_expect(&ring.full[ring.slot], (uint32_t)boxes * (ZK_RESIDENT_SLOT / 2));
    for (int32_t b = 0; b < boxes; b++)
      zk_tma_load_3d(ring.at() + b * (ZK_RESIDENT_SLOT / 2), map, &ring.full[ring.slot], 0,
                     zk_resident_cache_row<Shape>(p, item, first + b * ZK_RESIDENT_KEYS), item.half);
  }
}

// All maps of the launch, shared out among the block's threads.
static __device__ __forceinline__ void zk_resident_acquire_maps(const zk_resident_plan &p) {
  constexpr int32_t MAPS = offsetof(zk_resident_layer, vectors) / sizeof(CUtensorMap);
  for (int32_t i = (int32_t)threadIdx.x; i < p.num_layers * MAPS; i += (int32_t)blockDim.x)
    zk_tma_acquire_map(&p.layers[i / MAPS].qkv[0] + i % MAPS);
}

// The loader is ahead of those who will need them: a layer's maps, to where the copy engine looks for them; and the
// norms' weights to L2, by one block for all.
template <class Shape>
static __device__ __forceinline__ void zk_resident_fetch(const zk_resident_plan &p, const zk_resident_layer &layer) {
  const CUtensorMap *const maps[] = {&layer.qkv[0],  &layer.qkv[1], &layer.qkv[2], &layer.o,
                                     &layer.gate_up, &layer.down,   &layer.k,      &layer.v};
#pragma unroll
  for (int i = 0; i < 8; i++) zk_tma_prefetch_map(maps[i]);
  if (blockIdx.x + 1 != gridDim.x) return;
  const auto fetch = [](const zk_bf16 *from, int32_t n) {
#pragma unroll 1
    for (int32_t i = 0; i < n; i += 64) zk_prefetch_l2(from + i);
  };
  const zk_resident_vectors v = layer.vectors;
  fetch(v.attn_norm, Shape::HIDDEN), fetch(v.mlp_norm, Shape::HIDDEN);
  if (v.q_norm != NULL) fetch(v.q_norm, ZK_RESIDENT_DIM), fetch(v.k_norm, ZK_RESIDENT_DIM);
}

static __device__ __forceinline__ int32_t zk_resident_first_item() { return (int32_t)(gridDim.x - 1 - blockIdx.x); }

template <class Shape, class Ring> static __device__ void zk_resident_load_all(const zk_resident_plan &p, Ring ring) {
  const int32_t block = (int32_t)blockIdx.x, blocks = (int32_t)gridDim.x, position = *p.position,
                items = 2 * Shape::KV_HEADS * (position / ZK_RESIDENT_SPLIT + 1);
  const int32_t row = block * Shape::qkv::ROWS,
                part = row < Shape::Q_ROWS                   ? 0
                       : row < Shape::Q_ROWS + Shape::K_ROWS ? 1
                                                             : 2,
                first = row - (part > 0 ? Shape::Q_ROWS : 0) - (part > 1 ? Shape::K_ROWS : 0);
  zk_resident_fetch<Shape>(p, p.layers[0]);
#pragma unroll 1
  for (int32_t l = 0; l < p.num_layers; l++) {
    const zk_resident_layer &layer = p.layers[l];
    if (l + 1 < p.num_layers) zk_resident_fetch<Shape>(p, p.layers[l + 1]);
    if (block < ZK_RESIDENT_BLOCKS) zk_resident_ask<typename Shape::qkv, false>(ring, &layer.qkv[part], first);
#pragma unroll 1
    for (int32_t i = zk_resident_first_item(); i < items; i += blocks) {
      const zk_resident_item item = zk_resident_find<Shape>(position, i);
      zk_resident_ask_k<Shape>(ring, p, &layer.k, item);
      zk_resident_ask_v<Shape>(ring, p, &layer.v, item);
    }
    if (block >= ZK_RESIDENT_BLOCKS) continue;
    zk_resident_ask<typename Shape::o, false>(ring, &layer.o, block * Shape::o::ROWS);
#pragma unroll 1
    for (int32_t pass = 0; pass < Shape::PASSES; pass++)
      zk_resident_ask<typename Shape::gate_up, true>(ring, &layer.gate_up,
                                                     (pass * ZK_RESIDENT_BLOCKS + block) * ZK_RESIDENT_PAIRS);
    zk_resident_ask<typename Shape::down, false>(ring, &layer.down, block * Shape::down::ROWS);
  }
}

// ---- the layers, by the computing warps

// This lane's outputs of a tile: rows `in` and in + 8, alike in the four lanes of a row, each of which puts one of the
// copies.
template <class Tile> struct zk_resident_rows {
  int32_t in;
  bool there[2];
  __device__ __forceinline__ zk_resident_rows() {
    in = (int32_t)threadIdx.x / 32 * 16 + (int32_t)threadIdx.x % 32 / 4;
    for (int i = 0; i < 2; i++) there[i] = in + 8 * i < Tile::ROWS;
  }
};

// A chain's end with the residual, rounded as it is stored.
static __device__ __forceinline__ float zk_resident_add(float acc, float residual) {
  return zk_bf16_to_float(zk_float_to_bf16(acc + residual));
}

// q, k and v's rows of the norm of x.
template <class Shape, class Ring>
static __device__ __forceinline__ void zk_resident_qkv(const zk_resident_plan &p, Ring &ring,
                                                       zk_resident_memory<Shape> *memory, uint32_t epoch) {
  float acc[4];
  zk_resident_chains<typename Shape::qkv>(ring, memory->narrow, acc);
  const zk_resident_rows<typename Shape::qkv> mine;
  uint32_t *to = p.qkv_mail + (int32_t)blockIdx.x * Shape::qkv::ROWS + mine.in;
#pragma unroll
  for (int i = 0; i < 2; i++)
    if (mine.there[i] && threadIdx.x % 4 == 0) zk_mail_put(to + 8 * i, acc[2 * i], epoch);
}

// The hidden state's rows of this block, by a product of x with Tile's weights, to `mail` or, where it is NULL, to p.x.
template <class Shape, class Tile, class Ring>
static __device__ __forceinline__ void zk_resident_hidden(const zk_resident_plan &p, Ring &ring, const zk_bf16 *x,
                                                          float (&residual)[2], uint32_t *mail, uint32_t epoch) {
  float acc[4];
  zk_resident_chains<Tile>(ring, x, acc);
  const zk_resident_rows<Tile> mine;
  const int32_t row = (int32_t)blockIdx.x * Tile::ROWS + mine.in;
#pragma unroll
  for (int i = 0; i < 2; i++) {
    residual[i] = zk_resident_add(acc[2 * i], residual[i]);
    if (!mine.there[i]) continue;
    if (mail != NULL)
      zk_mail_put(mail + (int32_t)threadIdx.x % ZK_RESIDENT_COPIES * Shape::HIDDEN + row + 8 * i, residual[i], epoch);
    else if (threadIdx.x % 4 == 0) zk_store(p.x, row + 8 * i, residual[i]);
  }
}

// Gate and up's rows, and SwiGLU of them: row `in` of the tile's weights is gate's, in + 8 the same of up.
template <class Shape, class Ring>
static __device__ __forceinline__ void zk_resident_gate_up(const zk_resident_plan &p, Ring &ring,
                                                           zk_resident_memory<Shape> *memory, int32_t tile,
                                                           uint32_t epoch) {
  const int32_t warp = (int32_t)threadIdx.x / 32, lane = (int32_t)threadIdx.x % 32;
  float acc[4], s;
  zk_resident_chains<typename Shape::gate_up>(ring, memory->narrow, acc);
  if (warp >= Shape::gate_up::WARPS) return;
  const uint32_t words = zk_pack_bf16(acc[0], acc[2]);
  const float gate = zk_low_bf16(words);
  zk_sigmoid<1>(&gate, &s);
  zk_mail_put(p.act_mail + lane % ZK_RESIDENT_COPIES * Shape::INNER + tile * ZK_RESIDENT_PAIRS + warp * 8 + lane / 4,
              (gate * s) * zk_high_bf16(words), epoch);
}

template <class Shape, class Ring>
static __device__ void zk_resident_compute(const zk_resident_plan &p, Ring ring, zk_resident_memory<Shape> *memory) {
  const int32_t block = (int32_t)blockIdx.x, blocks = (int32_t)gridDim.x, position = *p.position,
                items = 2 * Shape::KV_HEADS * (position / ZK_RESIDENT_SPLIT + 1);
  const uint32_t base = p.epochs[block];
  float residual[2] = {0.0f, 0.0f}; // the block's rows of the hidden state: o's and down's tiles are alike
  if (threadIdx.x == 0) memory->vectors[0] = p.layers[0].vectors;
  zk_resident_meet();
#pragma unroll 1
  for (int32_t l = 0; l < p.num_layers; l++) {
    const zk_resident_vectors &layer = memory->vectors[l % 2];
    if (threadIdx.x == ZK_RESIDENT_THREADS - 1 && l + 1 < p.num_layers)
      memory->vectors[(l + 1) % 2] = p.layers[l + 1].vectors;
    const uint32_t epoch = base + (uint32_t)l + 1;
    if (block < ZK_RESIDENT_BLOCKS) {
      const zk_resident_norm_weight<Shape::HIDDEN> weight(layer.attn_norm);
      if (l > 0) zk_mail_take<Shape::HIDDEN>(p.x_mail, epoch - 1, memory->raw);
      else
        for (int32_t i = (int32_t)threadIdx.x * 4; i < Shape::HIDDEN; i += ZK_RESIDENT_THREADS * 4)
          *(zk_words<2> *)(memory->raw + i) = *(const zk_words<2> *)(p.x + i);
      zk_resident_meet();
      if (l == 0) {
        const zk_resident_rows<typename Shape::o> mine;
        for (int i = 0; i < 2; i++)
          if (mine.there[i]) residual[i] = zk_load(memory->raw, block * Shape::o::ROWS + mine.in + 8 * i);
      }
      zk_resident_norm<Shape::HIDDEN>(memory->raw, weight, p.eps, memory->narrow);
      zk_resident_qkv<Shape>(p, ring, memory, epoch);
    }
#pragma unroll 1
    for (int32_t i = zk_resident_first_item(); i < items; i += blocks)
      zk_resident_attend<Shape>(p, layer, zk_resident_find<Shape>(position, i), position, epoch, ring,
                                &memory->attention);
#pragma unroll 1
    for (int32_t i = zk_resident_first_item(); i < items; i += blocks) {
      const zk_resident_item item = zk_resident_find<Shape>(position, i);
      if (item.own >= 0) zk_resident_merge<Shape>(p, item, epoch);
    }
    if (block >= ZK_RESIDENT_BLOCKS) continue;
    zk_mail_take<Shape::Q_ROWS>(p.a_mail, epoch, memory->wide);
    zk_resident_meet();
    zk_resident_hidden<Shape, typename Shape::o>(p, ring, memory->wide, residual, p.y_mail, epoch);
    const zk_resident_norm_weight<Shape::HIDDEN> weight(layer.mlp_norm);
    zk_mail_take<Shape::HIDDEN>(p.y_mail, epoch, memory->raw);
    zk_resident_meet();
    zk_resident_norm<Shape::HIDDEN>(memory->raw, weight, p.eps, memory->narrow);
#pragma unroll 1
    for (int32_t pass = 0; pass < Shape::PASSES; pass++)
      zk_resident_gate_up<Shape>(p, ring, memory, pass * ZK_RESIDENT_BLOCKS + block, epoch);
    zk_mail_take<Shape::INNER>(p.act_mail, epoch, memory->wide);
    zk_resident_meet();
    zk_resident_hidden<Shape, typename Shape::down>(p, ring, memory->wide, residual,
                                                    l + 1 < p.num_layers ? p.x_mail : NULL, epoch);
  }
  if (threadIdx.x == 0) p.epochs[block] = base + (uint32_t)p.num_layers;
}

template <class Shape>
static __global__ void __launch_bounds__(ZK_RESIDENT_THREADS + 32, 1)
    zk_resident_kernel(const __grid_constant__ zk_resident_plan p) {
  ZK_DYNAMIC_SHARED(zk_resident_memory<Shape>, memory);
  constexpr int SLOTS = zk_resident_memory<Shape>::SLOTS;
  const zk_resident_ring<SLOTS> ring = {memory->ring[0], memory->full, memory->empty, 0, 0};
  if (threadIdx.x == 0) {
    for (int32_t i = 0; i < SLOTS; i++) zk_mbar_init(&ring.full[i], 1), zk_mbar_init(&ring.empty[i], ZK_RESIDENT_WARPS);
    zk_mbar_init_done();
  }
  zk_resident_acquire_maps(p);
  __syncthreads();
  if (threadIdx.x / 32 < ZK_RESIDENT_WARPS) zk_resident_compute<Shape>(p, ring, memory);
  else if (threadIdx.x % 32 == 0) zk_resident_load_all<Shape>(p, ring);
}

#endif
