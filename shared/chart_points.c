// Values to what is drawn of them.
#include "shared/chart.h"

#include <stdlib.h>

static zk_chart_point merge(const double *x, const double *y, int64_t num) {
  zk_chart_point p = {x[0], x[num - 1], 0, y[0], y[0]};
  for (int64_t i = 0; i < num; i++) {
    p.mean += y[i] / (double)num;
    if (y[i] < p.low) p.low = y[i];
    if (y[i] > p.high) p.high = y[i];
  }
  return p;
}

zk_status zk_chart_points_make(const double *x, const double *y, int64_t num, zk_chart_point **out, int64_t *out_num) {
  int64_t share = (num + ZK_CHART_MAX_POINTS - 1) / ZK_CHART_MAX_POINTS; // steps in a point
  *out = NULL, *out_num = 0;
  if (!num) return ZK_OK;
  *out = malloc((size_t)((num + share - 1) / share) * sizeof **out);
  if (!*out) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a chart of %lld values", (long long)num);
  for (int64_t i = 0; i < num; i += share) {
    int64_t n = num - i < share ? num - i : share;
    (*out)[(*out_num)++] = n == 1 ? (zk_chart_point){x[i], x[i], y[i], y[i], y[i]} : merge(x + i, y + i, n);
  }
  return ZK_OK;
}

void zk_chart_smooth(const zk_chart_series *series, double weight, double *out) {
  double sum = 0, total = 0; // of weighted values, of weights
  if (series->num_points < ZK_CHART_LEAST_SMOOTHED) weight = 0;
  for (int64_t i = 0; i < series->num_points; i++) {
    sum = weight * sum + (1 - weight) * series->points[i].mean;
    total = weight * total + (1 - weight);
    out[i] = sum / total;
  }
}
