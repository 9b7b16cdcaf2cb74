// Wrapping by characters of the screen, which bytes and escape sequences are not.
#include "shared/text_cell.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#define RESET "\033[0m"

void zk_text_cell_init(zk_text_cell *cell, int width) { *cell = (zk_text_cell){.width = width, .style = ""}; }

void zk_text_cell_free(zk_text_cell *cell) {
  free(cell->text);
  free(cell->line_ends);
  free(cell->line_widths);
  zk_text_cell_init(cell, cell->width);
}

// ---- bytes

static void append(zk_text_cell *cell, const char *bytes, size_t num_bytes) {
  if (cell->num_bytes + num_bytes > cell->capacity) {
    size_t capacity = 2 * (cell->num_bytes + num_bytes) + 256;
    char *grown = realloc(cell->text, capacity);
    if (!grown) {
      cell->status = ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a column of text");
      return;
    }
    cell->text = grown, cell->capacity = capacity;
  }
  memcpy(cell->text + cell->num_bytes, bytes, num_bytes);
  cell->num_bytes += num_bytes;
}

static void append_text(zk_text_cell *cell, const char *text) { append(cell, text, strlen(text)); }

static bool grow_lines(zk_text_cell *cell) {
  size_t capacity = 2 * cell->line_capacity + 16;
  size_t *ends = realloc(cell->line_ends, capacity * sizeof *ends);
  if (ends) cell->line_ends = ends;
  int *widths = realloc(cell->line_widths, capacity * sizeof *widths);
  if (widths) cell->line_widths = widths;
  if (ends && widths) cell->line_capacity = capacity;
  return ends && widths;
}

// ---- lines

void zk_text_cell_end_line(zk_text_cell *cell) {
  if (*cell->style) append_text(cell, RESET);
  if (cell->num_lines == cell->line_capacity && !grow_lines(cell)) {
    cell->status = ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a column of text");
    return;
  }
  cell->line_ends[cell->num_lines] = cell->num_bytes, cell->line_widths[cell->num_lines++] = cell->used;
  cell->used = 0;
  append_text(cell, cell->style);
}

void zk_text_cell_style(zk_text_cell *cell, const char *style) {
  if (!strcmp(style, cell->style)) return;
  if (*cell->style) append_text(cell, RESET);
  append_text(cell, style);
  cell->style = style;
}

// Something that must stay together and takes `width` characters.
static void put_unit(zk_text_cell *cell, const char *bytes, size_t num_bytes, int width) {
  if (cell->used && cell->used + width > cell->width) zk_text_cell_end_line(cell);
  append(cell, bytes, num_bytes);
  cell->used += width;
}

static bool is_unruly(utf8proc_int32_t code) {
  utf8proc_category_t category = utf8proc_category(code);
  return category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF || category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
}

void zk_text_cell_put(zk_text_cell *cell, const char *text, size_t num_bytes) {
  for (size_t at = 0; at < num_bytes && cell->status == ZK_OK;) {
    utf8proc_int32_t code;
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(num_bytes - at), &code);
    char escaped[16];
    int length = snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned)code);
    if (n <= 0) n = 1, code = 0xfffd;
    if (code == '\n') put_unit(cell, "\u21b5", 3, 1), zk_text_cell_end_line(cell);
    else if (code == '\t') put_unit(cell, "\\t", 2, 2);
    else if (is_unruly(code)) put_unit(cell, escaped, (size_t)length, length);
    else if (code == 0xfffd) put_unit(cell, "\ufffd", 3, 1);
    else put_unit(cell, text + at, (size_t)n, utf8proc_charwidth(code));
    at += (size_t)n;
  }
}

void zk_text_cell_printf(zk_text_cell *cell, const char *format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  int n = vsnprintf(text, sizeof text, format, args);
  va_end(args);
  zk_text_cell_put(cell, text, n < (int)sizeof text ? (size_t)n : sizeof text - 1);
}

// ---- side by side

// A line of a cell, nothing where it has fewer; returns how many blanks are left to its right edge.
static int print_line(FILE *out, const zk_text_cell *cell, size_t line) {
  if (line >= cell->num_lines) return cell->width;
  size_t first = line ? cell->line_ends[line - 1] : 0;
  fwrite(cell->text + first, 1, cell->line_ends[line] - first, out);
  return cell->width - cell->line_widths[line];
}

zk_status zk_text_cells_print(FILE *out, zk_text_cell *cells, int num_cells, int gap) {
  size_t num_lines = 0;
  for (int i = 0; i < num_cells; i++) {
    if (cells[i].used) zk_text_cell_end_line(&cells[i]);
    if (cells[i].status != ZK_OK) return cells[i].status;
    if (cells[i].num_lines > num_lines) num_lines = cells[i].num_lines;
  }
  for (size_t line = 0; line < num_lines; line++) {
    int last = num_cells - 1;
    while (last > 0 && line >= cells[last].num_lines) last--;
    for (int i = 0; i <= last; i++) {
      int room = print_line(out, &cells[i], line) + gap;
      if (i < last) fprintf(out, "%*s", room, "");
    }
    fputc('\n', out);
  }
  return ZK_OK;
}
