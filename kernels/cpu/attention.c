// Attention forward on a CPU: cuts a batch into tasks and lets threads take them. Which thread takes which task, and how large tasks
// are, changes no bit: a row's arithmetic never leaves its task, or leaves it as whole splits.
#include "kernels/cpu/attention.h"

#include <omp.h>

#include "kernels/backend.h"
#include "kernels/cpu/attention_bf16.h"
#include "kernels/cpu/parallel.h"

#define TASK_MICRO_ROWS 96          // rows that reuse a K/V tile from the first-level cache
#define LEAST_MICRO_ROWS 12         // when there would be too few tasks for the threads
#define PARALLEL_FMAS 200000        // below this a parallel region costs more than it saves
#define MOST_PARTIAL_FLOATS (16 << 20)

typedef struct {
  int32_t block_rows; // query rows of a task
  int64_t num_tasks;
  int64_t num_splits;    // over all tasks
  size_t partial_floats; // if every split were a task
  int64_t fmas;
} plan;

static int32_t ceil_div(int32_t a, int32_t b) { return (a + b - 1) / b; }

static plan plan_with(const zk_attn_shape *s, const zk_attention_batch *b, int32_t block_rows) {
  plan p = {.block_rows = block_rows};
  for (int32_t seq = 0; seq < b->num_seqs; ++seq) {
    const int32_t rows = b->seq_row_start[seq + 1] - b->seq_row_start[seq], first_pos = b->seq_first_pos[seq];
    if (rows == 0) continue;
    const int64_t tasks = (int64_t)ceil_div(rows, block_rows) * s->num_kv_heads, splits = (first_pos + rows - 1) / ZK_ATTN_SPLIT + 1;
    p.num_tasks += tasks;
    p.num_splits += tasks * splits; // at most: the first blocks of rows have fewer
    p.partial_floats += (size_t)(tasks * splits) * (size_t)(block_rows * s->group) * (size_t)(s->padded_dim + 2);
    p.fmas += (int64_t)rows * (first_pos + rows / 2 + 1) * s->num_heads * s->dim * 2;
  }
  return p;
}

static plan make_plan(const zk_attn_shape *s, const zk_attention_batch *b, int threads) {
  int32_t rows = s->group < TASK_MICRO_ROWS ? TASK_MICRO_ROWS / s->group : 1;
  plan p = plan_with(s, b, rows);
  while (p.num_tasks < 4 * threads && rows > 1 && rows * s->group > LEAST_MICRO_ROWS) p = plan_with(s, b, rows /= 2);
  return p;
}

// The tasks of a batch, those with the most keys of each sequence first. Returns how many.
static int64_t make_tasks(const zk_attn_shape *s, const zk_attention_batch *b, int32_t block_rows, zk_attn_task *tasks) {
  int64_t n = 0;
  for (int32_t seq = 0; seq < b->num_seqs; ++seq) {
    const int32_t rows = b->seq_row_start[seq + 1] - b->seq_row_start[seq];
    for (int32_t block = ceil_div(rows, block_rows) - 1; block >= 0; --block) {
      const int32_t begin = block * block_rows, left = rows - begin;
      zk_attn_task task = {.pages = b->page_table + (size_t)seq * (size_t)b->max_pages,
                           .first_row = b->seq_row_start[seq] + begin,
                           .first_pos = b->seq_first_pos[seq] + begin,
                           .num_rows = left < block_rows ? left : block_rows};
      task.split_end = (task.first_pos + task.num_rows - 1) / ZK_ATTN_SPLIT + 1;
      for (task.kv_head = 0; task.kv_head < s->num_kv_heads; ++task.kv_head) tasks[n++] = task;
    }
  }
  return n;
}

// Cuts each task into its splits, each with its own partial; a task's partials lie side by side from its `partial` on.
static int64_t make_split_tasks(const zk_attn_shape *s, zk_attn_task *tasks, int64_t num_tasks, float *partials, zk_attn_task *out) {
  int64_t n = 0;
  for (int64_t i = 0; i < num_tasks; ++i) {
    tasks[i].partial = partials;
    for (int32_t split = 0; split < tasks[i].split_end; ++split) {
      out[n] = tasks[i];
      out[n].split_begin = split;
      out[n].split_end = split + 1;
      out[n++].partial = partials;
      partials += (size_t)(tasks[i].num_rows * s->group) * (size_t)(s->padded_dim + 2);
    }
  }
  return n;
}

typedef void (*task_fn)(const zk_attn_forward *, const zk_attn_task *, float *);

// Splits as tasks of their own, then a merge: for long contexts with few rows, where whole rows would leave threads idle.
static void run_split(zk_cpu_isa isa, const zk_attn_forward *f, zk_attn_task *tasks, int64_t num_tasks, zk_attn_task *split_tasks,
                      float *partials, float *scratch, size_t scratch_floats, int threads) {
  const task_fn run = ZK_ISA_PICK(isa, zk_attn_forward_task), merge = ZK_ISA_PICK(isa, zk_attn_merge_task);
  const int64_t num_split_tasks = make_split_tasks(&f->shape, tasks, num_tasks, partials, split_tasks);
#pragma omp parallel num_threads(threads)
  {
    float *mine = scratch + (size_t)omp_get_thread_num() * scratch_floats;
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < num_split_tasks; ++i) run(f, &split_tasks[i], mine);
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < num_tasks; ++i) merge(f, &tasks[i], mine);
  }
}

zk_status zk_cpu_attention_forward(zk_stream *stream, const zk_attention_desc *desc, const zk_attention_batch *batch, const void *q,
                                   const void *k_cache, const void *v_cache, void *out, float *lse) {
  if (desc->numerics != ZK_F32) return zk_cpu_bf16_attention_forward(stream, desc, batch, q, k_cache, v_cache, out, lse);
  const zk_device *device = zk_stream_device(stream);
  const zk_cpu_isa isa = zk_device_isa(device);
  const zk_attn_forward f = {
      .shape = zk_attn_shape_of(desc), .q = q, .k_cache = k_cache, .v_cache = v_cache, .out = out, .lse = lse};
  int threads = zk_device_threads(device);
  const plan p = make_plan(&f.shape, batch, threads);
  if (p.fmas < PARALLEL_FMAS) threads = 1;
  const int by_split = threads > 1 && p.num_tasks < 2 * threads && p.num_splits > p.num_tasks && p.partial_floats < MOST_PARTIAL_FLOATS;

  const size_t scratch_floats = (zk_attn_forward_scratch(&f.shape, p.block_rows) + 31) / 16 * 16;
  const size_t task_bytes = (size_t)(p.num_tasks + (by_split ? p.num_splits : 0)) * sizeof(zk_attn_task) + 64;
  const size_t floats = (size_t)threads * scratch_floats + (by_split ? p.partial_floats : 0);
  float *scratch;
  ZK_TRY(zk_stream_scratch(stream, floats * sizeof(float) + task_bytes, (void **)&scratch));
  zk_attn_task *tasks = (zk_attn_task *)(scratch + (floats + 15) / 16 * 16);
  const int64_t num_tasks = make_tasks(&f.shape, batch, p.block_rows, tasks);
  if (by_split) {
    run_split(isa, &f, tasks, num_tasks, tasks + num_tasks, scratch + (size_t)threads * scratch_floats, scratch, scratch_floats, threads);
    return ZK_OK;
  }
  const task_fn run = ZK_ISA_PICK(isa, zk_attn_forward_task);
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1) if (threads > 1)
  for (int64_t i = 0; i < num_tasks; ++i) run(&f, &tasks[i], scratch + (size_t)omp_get_thread_num() * scratch_floats);
  return ZK_OK;
}
