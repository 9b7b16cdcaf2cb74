// One group side by side.
#include <stdlib.h>
#include <string.h>

#include "shared/inspect_group.h"
#include "shared/text_cell.h"
#include "shared/token_text.h"

enum { LEAST_WIDTH = 30, MOST_WIDTH = 76, GAP = 3 };

// Grounds from light to strong orange under black letters: legible on dark and on light screens, told apart by lightness alone.
static const char *const grounds[ZK_TOKEN_NUM_BANDS] = {"", "\033[38;5;16;48;5;230m", "\033[38;5;16;48;5;222m", "\033[38;5;16;48;5;215m",
                                                        "\033[38;5;16;48;5;208m"};
#define BOLD "\033[1m"
#define DIM "\033[2m"
#define DIFFERS "\033[1;4;31m"

static double number_at(const json_t *array, size_t i) { return json_number_value(json_array_get(array, i)); }

static void put_number(zk_text_cell *cell, const char *name, const json_t *value) {
  if (json_is_number(value)) zk_text_cell_printf(cell, "%s %.4g", name, json_number_value(value));
  else zk_text_cell_printf(cell, "%s %s", name, json_string_value(value));
}

// What is known of the sample as a whole.
static void put_head(zk_text_cell *cell, const json_t *sample, bool color) {
  const json_t *logprob = json_object_get(sample, "sampler_logprob"), *mask = json_object_get(sample, "loss_mask");
  const char *name;
  json_t *value;
  double sum = 0;
  int64_t num = 0;
  for (size_t k = 0; k < json_array_size(logprob); k++)
    if (!mask || number_at(mask, k) != 0) sum += number_at(logprob, k), num++;
  if (color) zk_text_cell_style(cell, BOLD);
  put_number(cell, "sample", json_object_get(sample, "sample"));
  put_number(cell, "  reward", json_object_get(sample, "reward"));
  if (json_object_get(sample, "reward_detail")) put_number(cell, ",", json_object_get(sample, "reward_detail"));
  zk_text_cell_end_line(cell);
  if (color) zk_text_cell_style(cell, "");
  json_object_foreach(json_object_get(sample, "reward_components"), name, value) {
    put_number(cell, name, value);
    zk_text_cell_put(cell, "  ", 2);
  }
  if (cell->used) zk_text_cell_end_line(cell);
  put_number(cell, "advantage", json_object_get(sample, "advantage"));
  if (num) zk_text_cell_printf(cell, "  mean ln p %.3f", sum / (double)num);
  zk_text_cell_end_line(cell);
  zk_text_cell_printf(cell, "%lld tokens, %s", (long long)num, json_string_value(json_object_get(sample, "finish")));
  if (json_integer_value(json_object_get(sample, "mismatches"))) put_number(cell, ", differing", json_object_get(sample, "mismatches"));
  zk_text_cell_end_line(cell);
  for (int i = 0; i < cell->width; i++) zk_text_cell_put(cell, "\u2500", 3);
  zk_text_cell_end_line(cell);
}

static bool is_sampled(const json_t *mask, size_t k) { return !mask || number_at(mask, k) != 0; }

// The style of token k, and of those before it that stand with it (their least log-probability is *least).
static const char *style_of(const json_t *sample, size_t k, double least, bool differs) {
  if (!is_sampled(json_object_get(sample, "loss_mask"), k)) return DIM;
  return differs ? DIFFERS : grounds[zk_token_band(least)];
}

static bool same_bits(const json_t *a, const json_t *b) { // 0 and -0 differ, and NaN is a text
  double x = json_number_value(a), y = json_number_value(b);
  return json_equal(a, b) && !memcmp(&x, &y, sizeof x);
}

static void put_text(zk_text_cell *cell, const json_t *sample, bool color) {
  const json_t *texts = json_object_get(sample, "token_texts"), *sampler = json_object_get(sample, "sampler_logprob"),
               *trainer = json_object_get(sample, "trainer_logprob");
  double least = 0;
  bool differs = false;
  for (size_t k = 0; k < json_array_size(texts); k++) {
    const json_t *text = json_array_get(texts, k);
    if (!(number_at(sampler, k) >= least)) least = number_at(sampler, k);
    differs |= !same_bits(json_array_get(sampler, k), json_array_get(trainer, k));
    if (!json_string_length(text)) continue;
    if (color) zk_text_cell_style(cell, style_of(sample, k, least, differs));
    zk_text_cell_put(cell, json_string_value(text), json_string_length(text));
    least = 0, differs = false;
  }
  if (color) zk_text_cell_style(cell, "");
}

// Samples [first, first + num) beside each other.
static zk_status print_row(FILE *out, const json_t *samples, size_t first, int num, int width, bool color) {
  zk_text_cell *cells = calloc((size_t)num, sizeof *cells);
  if (!cells) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %d columns", num);
  for (int i = 0; i < num; i++) {
    const json_t *sample = json_array_get(samples, first + (size_t)i);
    zk_text_cell_init(&cells[i], width);
    put_head(&cells[i], sample, color);
    put_text(&cells[i], sample, color);
  }
  zk_status st = zk_text_cells_print(out, cells, num, GAP);
  for (int i = 0; i < num; i++) zk_text_cell_free(&cells[i]);
  free(cells);
  return st;
}

static zk_status print_prompt(FILE *out, const json_t *group, int width, bool color) {
  zk_text_cell cell;
  const json_t *text = json_object_get(group, "prompt");
  zk_text_cell_init(&cell, width);
  if (color) zk_text_cell_style(&cell, BOLD);
  zk_text_cell_printf(&cell, "group %lld, prompt %s", (long long)json_integer_value(json_object_get(group, "group")),
                      json_string_value(json_object_get(group, "prompt_id")));
  zk_text_cell_end_line(&cell);
  if (color) zk_text_cell_style(&cell, "");
  zk_text_cell_put(&cell, json_string_value(text), json_string_length(text));
  zk_status st = zk_text_cells_print(out, &cell, 1, 0);
  zk_text_cell_free(&cell);
  return st;
}

static void print_key(FILE *out) {
  fputs("probability of a token, by the sampler: ", out);
  for (int b = 0; b < ZK_TOKEN_NUM_BANDS; b++) fprintf(out, "%s %s %s ", grounds[b], zk_token_band_text(b), b ? "\033[0m" : "");
  fputs("\n", out);
}

zk_status zk_inspect_group_print(FILE *out, const json_t *group, int width, bool color) {
  const json_t *samples = json_object_get(group, "samples");
  int num = (int)json_array_size(samples), columns = (width + GAP) / (LEAST_WIDTH + GAP);
  if (columns > num) columns = num;
  if (columns < 1) columns = 1;
  int column = (width - GAP * (columns - 1)) / columns;
  if (column > MOST_WIDTH) column = MOST_WIDTH;
  ZK_TRY(print_prompt(out, group, width, color));
  if (color) print_key(out);
  for (int first = 0; first < num; first += columns) {
    fputc('\n', out);
    ZK_TRY(print_row(out, samples, (size_t)first, num - first < columns ? num - first : columns, column, color));
  }
  return ZK_OK;
}
