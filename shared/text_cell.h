// A column of text for a terminal: what is written into it is wrapped to its width, and its lines come out padded, to stand beside others.
#ifndef ZK_SHARED_TEXT_CELL_H
#define ZK_SHARED_TEXT_CELL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "kernels/status.h"

typedef struct {
  int width;         // characters of a line
  char *text;        // all lines, one behind another; owned
  size_t num_bytes, capacity;
  size_t *line_ends; // [num_lines]: where each finished line ends in text; owned
  int *line_widths;  // [num_lines]: characters that each takes on the screen; owned
  size_t num_lines, line_capacity;
  int used;          // characters of the line in the making
  const char *style; // escape sequence in force, "" for none; borrowed
  zk_status status;  // the first error, ZK_OUT_OF_MEMORY, sticks
} zk_text_cell;

void zk_text_cell_init(zk_text_cell *cell, int width);
void zk_text_cell_free(zk_text_cell *cell);
// What follows is shown in this style (an escape sequence such as "\033[1m"; "" for none), also behind line breaks.
void zk_text_cell_style(zk_text_cell *cell, const char *style);
// Adds UTF-8 text: a line break ends the line (and is shown as U+21B5), other control and format characters are escaped ("\u001b").
void zk_text_cell_put(zk_text_cell *cell, const char *text, size_t num_bytes);
void zk_text_cell_printf(zk_text_cell *cell, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Ends the line in the making.
void zk_text_cell_end_line(zk_text_cell *cell);

// The cells beside each other, `gap` blanks between them; shorter ones are padded, nothing stands behind the last.
zk_status zk_text_cells_print(FILE *out, zk_text_cell *cells, int num_cells, int gap);

#endif
