// An axis: its ends, its ticks at round numbers, and how they are written.
#ifndef ZK_SHARED_CHART_AXIS_H
#define ZK_SHARED_CHART_AXIS_H

#include <stdbool.h>

enum { ZK_AXIS_MAX_TICKS = 16, ZK_AXIS_LABEL_BYTES = 32 };
typedef struct {
  double low, high; // the ends; low < high
  bool is_log;
  double step; // between ticks; 0 on a logarithmic axis
  double ticks[ZK_AXIS_MAX_TICKS];
  int num_ticks;
} zk_axis;

// An axis over [low, high] (finite, low <= high) with about `num_wanted` ticks at 1, 2 or 5 times a power of ten, at whole numbers where
// `whole`. `tight`: it ends where the values do, not at a tick.
void zk_axis_fit(double low, double high, int num_wanted, bool whole, bool tight, zk_axis *out);
// A logarithmic one over [low, high], 0 < low.
void zk_axis_fit_log(double low, double high, zk_axis *out);
// Where a value is: 0 at the low end, 1 at the high one.
double zk_axis_place(const zk_axis *axis, double value);
// A tick in words: "0.25", "12k", "5e−7".
const char *zk_axis_label(const zk_axis *axis, double tick, char out[ZK_AXIS_LABEL_BYTES]);

#endif
