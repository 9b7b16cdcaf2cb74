// Decoding attention, bf16: the loader, the warp that walks a block's stream of tiles (attention_decode.cuh) ahead of
// those that compute, and asks the copy engine for what they need.
#ifndef ZK_KERNELS_CUDA_ATTENTION_DECODE_LOADER_CUH
#define ZK_KERNELS_CUDA_ATTENTION_DECODE_LOADER_CUH

#include "kernels/cuda/attention_decode.cuh"

// The loader's place in the stream; its warp alone uses it. Every lane holds the same, but where it says otherwise. Page
// numbers are asked for a window of up to 512 keys at a time, a window ahead of their use.
template <int DIM, int STAGES> struct zk_decode_loader {
  static constexpr int halves = DIM / 64, window_keys = 32 * ZK_PAGE_MULTIPLE;
  using shared_t = zk_decode_shared<DIM, STAGES>;

  const zk_attn &a;
  shared_t *shared;
  const zk_decode_maps *maps;
  const zk_bf16 *q;
  uint32_t *queue;      // [0] items handed out besides each block's first, [1] blocks that have ended
  bool started;         // the block's first item, which its number says, is taken
  zk_decode_tile ahead; // first tile of the window to come (`prepared`), or of the one at hand
  bool prepared, turns; // turns: the window at hand is used up
  int32_t page;         // of this lane's 16 keys of that window; may be on its way
  zk_decode_tile next;  // the next tile of the stream
  int32_t window, row;  // the next tile's window's first key; row of the maps with this lane's 16 keys of the window
  int32_t asked;        // tiles whose K was asked for
  bool ended;           // the stream's end is written down
  uint32_t bytes_of_v;  // of the last of them; 0: its V has been asked for
  int32_t box_of_v, row_of_v; // rows of its boxes; of this lane's box, the row of the maps; -1: it has none

  __device__ __forceinline__ int32_t lane() const { return (int32_t)threadIdx.x % 32; }
  __device__ __forceinline__ int32_t end_of(const zk_decode_tile &tile) const { // of the item's keys
    return zk_attn_min((tile.split + 1) * a.split_keys, tile.num_keys);
  }

  // The next item that has keys for its block of rows, to `ahead`.
  __device__ __forceinline__ void find_item() {
    const int32_t num_items = shared->item_start[a.num_seqs] * a.num_kv_heads;
    ahead.num_rows = 0;
    while (ahead.num_rows == 0) {
      int32_t mine = (int32_t)blockIdx.x;
      if (started) zk_wait_for_previous(); // the kernel ahead may draw from the same queue
      if (started && lane() == 0) mine = (int32_t)(gridDim.x + atomicAdd(&queue[0], 1u));
      mine = __shfl_sync(0xffffffffu, mine, 0);
      started = true;
      if (mine >= num_items) return;
      const int32_t place = mine / a.num_kv_heads, s = zk_attn_bisect(shared->item_start, a.num_seqs, place);
      zk_decode_gang gang = zk_decode_find_gang(a, shared->row_start, shared->first_pos, s - s % 32 + lane());
      gang.first = __shfl_sync(0xffffffffu, gang.first, s % 32);
      gang.num_seqs = __shfl_sync(0xffffffffu, gang.num_seqs, s % 32);
      gang.num_splits = __shfl_sync(0xffffffffu, gang.num_splits, s % 32);
      const int32_t local = place - shared->item_start[s], row_start = shared->row_start[s];
      const int32_t flat = (shared->row_start[s + 1] - row_start) * a.group;
      const int32_t blocks = (flat + ZK_DECODE_ROWS - 1) / ZK_DECODE_ROWS;
      const bool is_first = s == gang.first, together = is_first && local < gang.num_splits;
      ahead.seq = s;
      ahead.num_seqs = together ? gang.num_seqs : 1;
      ahead.split = is_first ? local / blocks : local + gang.num_splits;
      ahead.kv_head = mine % a.num_kv_heads;
      ahead.row_start = row_start;
      ahead.begin = is_first ? local % blocks * ZK_DECODE_ROWS : 0;
      const int32_t end = together ? gang.num_seqs * a.group : zk_attn_min(ahead.begin + ZK_DECODE_ROWS, flat);
      ahead.num_keys = together ? (ahead.split + 1) * a.split_keys : shared->first_pos[s] + (end - 1) / a.group + 1;
      ahead.key = ahead.split * a.split_keys;
      if (ahead.key >= ahead.num_keys) continue; // only later blocks of this sequence see the split
      ahead.num_rows = end - ahead.begin;
      ahead.is_first = 1;
    }
  }
  __device__ __forceinline__ void ask_pages() { // of the window ahead
    const int32_t key = ahead.key + lane() * ZK_PAGE_MULTIPLE;
    if (ahead.num_rows > 0 && key < end_of(ahead))
      page = a.page_table[(size_t)ahead.seq * (size_t)a.max_pages + (size_t)(key / a.page_tokens)];
  }
  // Looks for the window after the one at hand.
  __device__ __forceinline__ void prepare() {
    ahead.key += window_keys, ahead.is_first = 0;
    if (ahead.num_rows == 0 || ahead.key >= end_of(ahead)) find_item();
    ask_pages();
    prepared = true;
  }
  __device__ __forceinline__ void turn() {
    next = ahead, window = ahead.key;
    row = (page * a.num_kv_heads + next.kv_head) * a.page_tokens + (window + lane() * ZK_PAGE_MULTIPLE) % a.page_tokens;
    prepared = turns = false;
  }
  // This lane's box, if it has one, once the barrier knows of all bytes.
  __device__ __forceinline__ void copy(zk_bf16 *slot, const CUtensorMap &whole, const CUtensorMap &end,
                                       uint64_t *bar, uint32_t bytes) {
    if (lane() == 0) zk_mbar_arrive_expect(bar, bytes);
    __syncwarp();
    if (row_of_v < 0) return;
    zk_tma_load_2d(slot + (lane() % halves * ZK_BF16_KEYS + lane() / halves * box_of_v) * 64,
                   box_of_v == maps->box_rows ? &whole : &end, bar, lane() % halves * 64, row_of_v);
  }
  // Asks for K of the next tile, and for Q with an item's first; writes down what the tile is. At the stream's end writes
  // down that.
  __device__ __forceinline__ void ask_k() {
    if (turns) turn();
    const int32_t stage = asked % STAGES;
    uint64_t *bar = &shared->k_full[stage];
    next.is_last = next.key + ZK_BF16_KEYS >= end_of(next);
    if (lane() == 0) shared->tile[asked % shared_t::TILES] = next;
    if (next.num_rows == 0) {
      if (lane() == 0) zk_mbar_arrive_expect(bar, 0);
      ended = true;
      return;
    }
    const int32_t keys = zk_attn_min(next.num_keys - next.key, ZK_BF16_KEYS), num_q = next.is_first ? next.num_rows : 0;
    box_of_v = keys == ZK_BF16_KEYS ? maps->box_rows : maps->end_box_rows;
    bytes_of_v = (uint32_t)((keys + box_of_v - 1) / box_of_v * box_of_v * DIM * 2);
    const int32_t first = lane() / halves * box_of_v; // slot of the box's first key
    row_of_v = __shfl_sync(0xffffffffu, row, (next.key - window + first) / ZK_PAGE_MULTIPLE % 32);
    if (first >= keys) row_of_v = -1;
    copy(shared->k[stage], maps->k, maps->k_end, bar, bytes_of_v + (uint32_t)(num_q * DIM * 2));
    if (lane() < num_q)
      zk_tma_load(shared->q[stage][lane()], q + zk_decode_row(a, next, lane()) * DIM, DIM * 2, bar);
    asked++;
    next.key += ZK_BF16_KEYS, next.is_first = 0;
    turns = next.is_last || next.key == window + window_keys;
  }
  __device__ __forceinline__ void ask_v() { // of the same tile
    if (bytes_of_v == 0) return;
    const int32_t stage = (asked - 1) % STAGES;
    copy(shared->v[stage], maps->v, maps->v_end, &shared->v_full[stage], bytes_of_v);
    bytes_of_v = 0;
    if (!prepared) prepare(); // the queue and the page table answer while the window's other tiles are computed
  }
  // The whole stream. Once the scores of tile i are done, its K and the V of the tile before it are free.
  __device__ __forceinline__ void run() {
    prepare(); // of the step's arrays alone
    turns = true;
    zk_wait_for_previous();
    zk_let_next_start();
    for (int i = 0; i < STAGES && !ended; ++i) ask_k(), ask_v();
    for (int32_t i = 0; !ended; ++i) {
      zk_mbar_wait(&shared->free[i % STAGES], (uint32_t)(i / STAGES) & 1u);
      ask_v();
      ask_k();
    }
    // The block's last use of the queue; the last block of all empties it for the next launch.
    if (lane() == 0 && atomicAdd(&queue[1], 1u) + 1 == gridDim.x) queue[0] = 0, queue[1] = 0;
  }
};

#endif
