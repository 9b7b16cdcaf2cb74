// A step put together from groups of other steps, by walking the table.
#include <stdlib.h>
#include <string.h>

#include "shared/trajectory.h"

// Samples [first, last) of a group's prompt: they are neighbours.
static void samples_of(const zk_trajectory_group *g, int64_t *first, int64_t *last) {
  const zk_trajectory *t = g->from;
  for (*first = 0; *first < t->num_samples && t->prompt_index[*first] < g->prompt;) ++*first;
  for (*last = *first; *last < t->num_samples && t->prompt_index[*last] == g->prompt;) ++*last;
}

typedef struct {
  int64_t first, num; // elements
} range;

// What of a column belongs to a group; of offsets the ends, for prompts and samples alike one each.
static range range_of(const zk_trajectory_group *g, int column) {
  const zk_trajectory *t = g->from;
  int64_t first, last;
  samples_of(g, &first, &last);
  switch (zk_trajectory_columns[column].extent) {
  case ZK_EXTENT_PROMPTS:
    return (range){g->prompt, 1};
  case ZK_EXTENT_PROMPT_OFFSETS:
    return (range){g->prompt + 1, 1};
  case ZK_EXTENT_PROMPT_TOKENS:
    return (range){t->prompt_offsets[g->prompt], t->prompt_offsets[g->prompt + 1] - t->prompt_offsets[g->prompt]};
  case ZK_EXTENT_SAMPLES:
    return (range){first, last - first};
  case ZK_EXTENT_SAMPLE_OFFSETS:
    return (range){first + 1, last - first};
  case ZK_EXTENT_SAMPLE_TOKENS:
    return (range){t->sample_offsets[first], t->sample_offsets[last] - t->sample_offsets[first]};
  case ZK_EXTENT_COMPONENTS:
    return (range){first * t->num_components, (last - first) * t->num_components};
  }
  return (range){0, 0};
}

// Room for all groups.
static zk_status allocate(const zk_trajectory_group *groups, int64_t num, zk_trajectory *out) {
  int64_t prompt_tokens = 0, samples = 0, tokens = 0;
  for (int64_t i = 0; i < num; i++) {
    const zk_trajectory *t = groups[i].from;
    int64_t first, last;
    samples_of(&groups[i], &first, &last);
    prompt_tokens += t->prompt_offsets[groups[i].prompt + 1] - t->prompt_offsets[groups[i].prompt];
    samples += last - first, tokens += t->sample_offsets[last] - t->sample_offsets[first];
  }
  const int32_t components = num ? groups[0].from->num_components : 0;
  ZK_TRY(zk_trajectory_alloc(out, num, prompt_tokens, samples, tokens, components));
  for (int32_t k = 0; k < components; k++)
    if (!(out->component_names[k] = strdup(groups[0].from->component_names[k]))) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a name");
  return ZK_OK;
}

static void copy_column(const zk_trajectory_group *groups, int64_t num, int column, zk_trajectory *out) {
  const zk_trajectory_extent extent = zk_trajectory_columns[column].extent;
  const size_t bytes = (size_t)zk_trajectory_columns[column].element_bytes;
  const bool is_offsets = extent == ZK_EXTENT_PROMPT_OFFSETS || extent == ZK_EXTENT_SAMPLE_OFFSETS;
  int64_t at = is_offsets, total = 0;
  char *to = zk_trajectory_data(out, column);
  for (int64_t i = 0; i < num; i++) {
    const range r = range_of(&groups[i], column);
    const char *from = zk_trajectory_data(groups[i].from, column);
    if (r.num) memcpy(to + (size_t)at * bytes, from + (size_t)r.first * bytes, (size_t)r.num * bytes);
    if (is_offsets) { // ends, counted from where this group begins
      int64_t *ends = (int64_t *)to + at, begin = ((const int64_t *)from)[r.first - 1];
      for (int64_t k = 0; k < r.num; k++) ends[k] += total - begin;
      if (r.num) total = ends[r.num - 1];
    }
    at += r.num;
  }
}

// The log-sum-exps that are of no file: whole, or none.
static zk_status copy_lse(const zk_trajectory_group *groups, int64_t num, zk_trajectory *out) {
  for (int64_t i = 0; i < num; i++)
    if (!groups[i].from->sampler_lse) return ZK_OK;
  out->sampler_lse = calloc((size_t)out->num_sample_tokens + 1, sizeof *out->sampler_lse);
  if (!out->sampler_lse) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %lld tokens", (long long)out->num_sample_tokens);
  for (int64_t i = 0, at = 0; i < num; i++) {
    int64_t first, last;
    samples_of(&groups[i], &first, &last);
    const int64_t from = groups[i].from->sample_offsets[first], n = groups[i].from->sample_offsets[last] - from;
    memcpy(out->sampler_lse + at, groups[i].from->sampler_lse + from, (size_t)n * sizeof *out->sampler_lse);
    at += n;
  }
  return ZK_OK;
}

zk_status zk_trajectory_join(const zk_trajectory_group *groups, int64_t num, zk_trajectory *out) {
  zk_status st = allocate(groups, num, out);
  if (st == ZK_OK) st = copy_lse(groups, num, out);
  if (st != ZK_OK) {
    zk_trajectory_free(out);
    return st;
  }
  for (int c = 0; c < ZK_TRAJECTORY_NUM_COLUMNS; c++) copy_column(groups, num, c, out);
  for (int64_t i = 0, at = 0; i < num; i++) {
    int64_t first, last;
    samples_of(&groups[i], &first, &last);
    for (; first < last; first++) out->prompt_index[at++] = (int32_t)i;
  }
  return ZK_OK;
}
