// bf16 attention on a CPU: cuts a batch into tasks and lets threads take them. Which thread takes which task, and how many rows a forward
// task has, changes no bit: a row's arithmetic never leaves its task.
#include "kernels/cpu/attention_bf16.h"

#include <omp.h>

#define TASK_MICRO_ROWS 128 // rows that share the copy of a tile
#define LEAST_MICRO_ROWS 16 // when there would be too few tasks for the threads

static int32_t ceil_div(int32_t a, int32_t b) { return (a + b - 1) / b; }

static int64_t count_tasks(const zk_attn_bf16_shape *s, const zk_attention_batch *b, int32_t block_rows) {
  int64_t n = 0;
  for (int32_t seq = 0; seq < b->num_seqs; ++seq)
    n += (int64_t)ceil_div(b->seq_row_start[seq + 1] - b->seq_row_start[seq], block_rows) * s->num_kv_heads;
  return n;
}

static int32_t choose_rows(const zk_attn_bf16_shape *s, const zk_attention_batch *b, int threads) {
  int32_t rows = s->group < TASK_MICRO_ROWS ? TASK_MICRO_ROWS / s->group : 1;
  while (count_tasks(s, b, rows) < 4 * threads && rows > 1 && rows * s->group > LEAST_MICRO_ROWS) rows /= 2;
  return rows;
}

// The tasks of a batch, those with the most keys of each sequence first.
static void make_tasks(const zk_attn_bf16_shape *s, const zk_attention_batch *b, int32_t block_rows,
                       zk_attn_bf16_task *task) {
  for (int32_t seq = 0; seq < b->num_seqs; ++seq) {
    const int32_t rows = b->seq_row_start[seq + 1] - b->seq_row_start[seq];
    for (int32_t block = ceil_div(rows, block_rows) - 1; block >= 0; --block)
      for (int32_t g = 0; g < s->num_kv_heads; ++g) {
        const int32_t begin = block * block_rows, left = rows - begin;
        *task++ = (zk_attn_bf16_task){.pages = b->page_table + (size_t)seq * (size_t)b->max_pages,
                                      .kv_head = g,
                                      .first_row = b->seq_row_start[seq] + begin,
                                      .first_pos = b->seq_first_pos[seq] + begin,
                                      .num_rows = left < block_rows ? left : block_rows};
      }
  }
}

// Tasks of at most block_rows rows each, and memory for as many threads as they keep busy.
typedef struct {
  zk_attn_bf16_task *tasks;
  int64_t num_tasks;
  int threads;
  char *scratch;
} plan;

static zk_status make_plan(zk_stream *stream, const zk_attn_bf16_shape *s, const zk_attention_batch *b,
                           int32_t block_rows, size_t task_bytes, plan *p) {
  p->num_tasks = count_tasks(s, b, block_rows);
  p->threads = zk_device_threads(zk_stream_device(stream));
  if (p->num_tasks < p->threads) p->threads = p->num_tasks > 0 ? (int)p->num_tasks : 1;
  const size_t bytes = (size_t)p->threads * task_bytes;
  ZK_TRY(zk_stream_scratch(stream, bytes + (size_t)p->num_tasks * sizeof *p->tasks, (void **)&p->scratch));
  p->tasks = (zk_attn_bf16_task *)(p->scratch + bytes);
  make_tasks(s, b, block_rows, p->tasks);
  return ZK_OK;
}

zk_status zk_cpu_bf16_attention_forward(zk_stream *stream, const zk_attention_desc *desc,
                                        const zk_attention_batch *batch, const zk_bf16 *q, const zk_bf16 *k_cache,
                                        const zk_bf16 *v_cache, zk_bf16 *out, float *lse) {
  const zk_cpu_isa isa = zk_device_isa(zk_stream_device(stream));
  const zk_attn_bf16_forward f = {zk_attn_bf16_shape_of(desc), q, k_cache, v_cache, out, lse};
  const int32_t rows = choose_rows(&f.shape, batch, zk_device_threads(zk_stream_device(stream)));
  const size_t bytes = ZK_ISA_PICK(isa, zk_attn_bf16_forward_bytes)(&f.shape, rows);
  plan p;
  ZK_TRY(make_plan(stream, &f.shape, batch, rows, bytes, &p));
#pragma omp parallel for num_threads(p.threads) schedule(dynamic, 1) if (p.threads > 1)
  for (int64_t i = 0; i < p.num_tasks; ++i)
    ZK_ISA_PICK(isa, zk_attn_bf16_forward_task)(&f, &p.tasks[i], p.scratch + (size_t)omp_get_thread_num() * bytes);
  return ZK_OK;
}

zk_status zk_cpu_bf16_attention_backward(zk_stream *stream, const zk_attention_desc *desc,
                                         const zk_attention_batch *batch, const zk_bf16 *q, const zk_bf16 *k_cache,
                                         const zk_bf16 *v_cache, const zk_bf16 *out, const zk_bf16 *dout,
                                         const float *lse, zk_bf16 *dq, zk_bf16 *dk, zk_bf16 *dv) {
  const zk_cpu_isa isa = zk_device_isa(zk_stream_device(stream));
  const zk_attn_bf16_backward b = {zk_attn_bf16_shape_of(desc), q, k_cache, v_cache, out, dout, lse, dq, dk, dv};
  int32_t most_rows = 1;
  for (int32_t seq = 0; seq < batch->num_seqs; ++seq) {
    const int32_t rows = batch->seq_row_start[seq + 1] - batch->seq_row_start[seq];
    most_rows = rows > most_rows ? rows : most_rows;
  }
  const size_t bytes = ZK_ISA_PICK(isa, zk_attn_bf16_backward_bytes)(&b.shape, most_rows);
  plan p;
  ZK_TRY(make_plan(stream, &b.shape, batch, most_rows, bytes, &p)); // one block: a whole sequence
#pragma omp parallel for num_threads(p.threads) schedule(dynamic, 1) if (p.threads > 1)
  for (int64_t i = 0; i < p.num_tasks; ++i)
    ZK_ISA_PICK(isa, zk_attn_bf16_backward_task)(&b, &p.tasks[i], p.scratch + (size_t)omp_get_thread_num() * bytes);
  return ZK_OK;
}
