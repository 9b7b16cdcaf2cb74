// Decode steps as recorded graphs. A graph keeps its row count and the width of its page table, so a step is padded to one of a few sizes; what
// changes from step to step (tokens, positions, pages, names of random numbers) is in arrays at addresses that depend on these alone.
#include "rollout/engine_impl.h"
#include "shared/log.h"

// Sizes are 1, 2, 4, then multiples of 8 up to 64, of 16 up to 128, of 32 up to 256, of 64 up to 512 and of 128 beyond; the largest is max_batch.
static int32_t granule(int32_t rows) {
  if (rows <= 4) return rows == 3 ? 4 : rows;
  return rows <= 64 ? 8 : rows <= 128 ? 16 : rows <= 256 ? 32 : rows <= 512 ? 64 : 128;
}

int32_t zk_step_padded(const zk_engine *e, int32_t rows) {
  const int32_t g = granule(rows), padded = (rows + g - 1) / g * g;
  return padded < e->options.max_batch ? padded : e->options.max_batch;
}

// Attention chooses its kernel by how many keys a sequence may have. Steps of a few rows, where that matters, have page tables for 512 keys, or
// four times as many, and so on up to the longest sequence's: seldom enough for a graph each.
int32_t zk_step_width(const zk_engine *e, int32_t rows, int32_t pages) {
  enum { FEW_ROWS = 8, FEWEST_KEYS = 512 };
  int32_t width = (FEWEST_KEYS + e->options.page_tokens - 1) / e->options.page_tokens;
  while (width < pages) width *= 4;
  return rows <= FEW_ROWS && width < e->max_pages ? width : e->max_pages;
}

// Where the step's graph is kept, or NULL when there is no place left.
static zk_step_graph *find_graph(zk_engine *e, const zk_step *step) {
  for (int i = 0; i < ZK_MAX_STEP_GRAPHS; i++) {
    zk_step_graph *g = &e->graphs[i];
    if (g->num_rows == 0) g->num_rows = step->num_rows, g->max_pages = step->max_pages;
    if (g->num_rows == step->num_rows && g->max_pages == step->max_pages) return g;
  }
  return NULL;
}

static void close_graph(zk_engine *e, zk_step_graph *g) {
  zk_graph_close(g->graph);
  *g = (zk_step_graph){.num_rows = g->num_rows, .max_pages = g->max_pages};
}

void zk_step_graphs_close(zk_engine *e) {
  for (int i = 0; i < ZK_MAX_STEP_GRAPHS; i++) close_graph(e, &e->graphs[i]);
}

static void record(zk_engine *e, const zk_step *step, zk_step_graph *g) {
  zk_status st = zk_graph_begin(e->stream);
  if (st == ZK_OK) {
    st = zk_engine_queue_rows(e, step);
    const zk_status ended = zk_graph_end(e->stream, &g->graph);
    if (st == ZK_OK) st = ended;
  }
  if (st == ZK_OK) return;
  ZK_LOG(DEBUG, "engine", "steps of %d rows are not recorded: %s", step->num_rows, zk_status_message());
  zk_status_clear();
  zk_graph_close(g->graph);
  g->graph = NULL, g->refused = true;
}

// A size's first step runs operation by operation, so that all it needs is there; its second is recorded.
zk_status zk_step_run(zk_engine *e, const zk_step *step) {
  zk_step_graph *g = step->is_decode && e->padding_page >= 0 ? find_graph(e, step) : NULL;
  if (g == NULL) return zk_engine_queue_rows(e, step);
  if (g->graph && zk_graph_is_stale(g->graph)) close_graph(e, g);
  if (!g->graph && !g->refused && g->runs++ > 0) record(e, step, g);
  if (!g->graph) return zk_engine_queue_rows(e, step);
  e->stats.graph_steps++;
  return zk_graph_launch(g->graph);
}
