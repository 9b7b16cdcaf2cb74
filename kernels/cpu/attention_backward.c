// Attention backward on a CPU: which (sequence, KV head) or part of one a thread takes. No atomics: each output has one writer.
#include <omp.h>

#include "kernels/backend.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/attention_bf16.h"
#include "kernels/cpu/parallel.h"

#define FINE_TILES 4          // key tiles, or row blocks, of a task when KV heads are too few for the threads
#define PARALLEL_FMAS 200000  // below this a parallel region costs more than it saves

static int32_t ceil_div(int32_t a, int32_t b) { return (a + b - 1) / b; }

typedef struct {
  int32_t num_seqs;    // with any row
  int32_t packed_rows; // sequences padded to 16
  int32_t most_rows;   // of a sequence
  int64_t num_fine;    // tasks of one KV head when cut finely
  int64_t fmas;
} plan;

static plan make_plan(const zk_attn_shape *s, const zk_attention_batch *b) {
  plan p = {0};
  for (int32_t seq = 0; seq < b->num_seqs; ++seq) {
    const int32_t rows = b->seq_row_start[seq + 1] - b->seq_row_start[seq];
    if (rows == 0) continue;
    p.num_seqs++;
    p.packed_rows += ceil_div(rows, ZK_KV_BLOCK) * ZK_KV_BLOCK;
    p.most_rows = rows > p.most_rows ? rows : p.most_rows;
    p.num_fine += 2 * ceil_div(rows, ZK_ATTN_TILE * FINE_TILES);
    p.fmas += (int64_t)rows * (rows + 1) / 2 * 5 * s->num_heads * s->dim;
  }
  return p;
}

// Whole KV heads when they fill the threads: 5 products a tile. Else dq by row blocks and dk, dv by key tiles: 7 products, many tasks.
static int cut_finely(int64_t num_tasks, int threads) {
  return (num_tasks + threads - 1) / threads * threads * 5 > num_tasks * 7;
}

// Tasks of one sequence and KV head.
static int64_t make_fine_tasks(zk_attn_backward_task whole, zk_attn_backward_task *out) {
  int64_t n = 0;
  const int32_t num_tiles = whole.tile_end;
  for (int32_t i = 0; i < ceil_div(num_tiles, FINE_TILES); ++i) {
    const int32_t begin = i * FINE_TILES, end = begin + FINE_TILES < num_tiles ? begin + FINE_TILES : num_tiles;
    out[n] = whole;
    out[n].tile_begin = begin, out[n].tile_end = end, out[n].want_dq = 0;
    n++;
    out[n] = whole;
    out[n].block_begin = begin, out[n].block_end = end, out[n].tile_end = end, out[n].want_dkv = 0;
    n++;
  }
  return n;
}

static int64_t make_tasks(const zk_attn_shape *s, const zk_attention_batch *b, int finely, zk_attn_backward_task *tasks) {
  int64_t n = 0;
  int32_t packed_row = 0;
  for (int32_t seq = 0; seq < b->num_seqs; ++seq) {
    const int32_t rows = b->seq_row_start[seq + 1] - b->seq_row_start[seq], tiles = ceil_div(rows, ZK_ATTN_TILE);
    if (rows == 0) continue;
    zk_attn_backward_task task = {.pages = b->page_table + (size_t)seq * (size_t)b->max_pages,
                                  .first_row = b->seq_row_start[seq],
                                  .num_rows = rows,
                                  .packed_row = packed_row,
                                  .tile_end = tiles,
                                  .block_end = tiles,
                                  .want_dq = 1,
                                  .want_dkv = 1};
    for (task.kv_head = 0; task.kv_head < s->num_kv_heads; ++task.kv_head) {
      if (finely)
        n += make_fine_tasks(task, tasks + n);
      else
        tasks[n++] = task;
    }
    packed_row += ceil_div(rows, ZK_KV_BLOCK) * ZK_KV_BLOCK;
  }
  return n;
}

static void run(zk_cpu_isa isa, const zk_attn_backward *b, const zk_attn_backward_task *tasks, int64_t num_tasks, float *scratch,
                size_t scratch_floats, int threads) {
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    float *mine = scratch + (size_t)omp_get_thread_num() * scratch_floats;
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < num_tasks; ++i)
      if (tasks[i].want_dkv && tasks[i].tile_begin == 0) ZK_ISA_PICK(isa, zk_attn_backward_pack)(b, &tasks[i]); // once a KV head
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < num_tasks; ++i) ZK_ISA_PICK(isa, zk_attn_backward_run)(b, &tasks[i], mine);
  }
}

zk_status zk_cpu_attention_backward(zk_stream *stream, const zk_attention_desc *desc, const zk_attention_batch *batch, const void *q,
                                    const void *k_cache, const void *v_cache, const void *out, const void *dout, const float *lse,
                                    void *dq, void *dk, void *dv) {
  for (int32_t seq = 0; seq < batch->num_seqs; ++seq)
    if (batch->seq_first_pos[seq] != 0)
      return ZK_FAIL(ZK_INTERNAL, "attention backward: sequence %d starts at position %d; it must be whole", seq, batch->seq_first_pos[seq]);
  if (desc->numerics != ZK_F32)
    return zk_cpu_bf16_attention_backward(stream, desc, batch, q, k_cache, v_cache, out, dout, lse, dq, dk, dv);
  const zk_device *device = zk_stream_device(stream);
  zk_attn_backward b = {.shape = zk_attn_shape_of(desc), .q = q, .k_cache = k_cache, .v_cache = v_cache, .out = out,
                        .dout = dout, .lse = lse, .dq = dq, .dk = dk, .dv = dv};
  const zk_attn_shape *s = &b.shape;
  const plan p = make_plan(s, batch);
  const int threads = p.fmas < PARALLEL_FMAS ? 1 : zk_device_threads(device);
  const int finely = cut_finely((int64_t)p.num_seqs * s->num_kv_heads, threads);
  b.packed_rows = p.packed_rows;

  const size_t packed = (size_t)s->num_kv_heads * (size_t)p.packed_rows * (size_t)s->padded_dim;
  const size_t scratch_floats = (zk_attn_backward_scratch(s, p.most_rows) + 31) / 16 * 16;
  const size_t floats = 2 * packed + (size_t)threads * scratch_floats;
  const size_t max_tasks = (size_t)s->num_kv_heads * (size_t)(finely ? p.num_fine : p.num_seqs);
  float *memory;
  ZK_TRY(zk_stream_scratch(stream, floats * sizeof(float) + max_tasks * sizeof(zk_attn_backward_task), (void **)&memory));
  b.packed_k = memory;
  b.packed_v = memory + packed;
  zk_attn_backward_task *tasks = (zk_attn_backward_task *)(memory + floats);
  const int64_t num_tasks = make_tasks(s, batch, finely, tasks);
  run(zk_device_isa(device), &b, tasks, num_tasks, memory + 2 * packed, scratch_floats, threads);
  return ZK_OK;
}
