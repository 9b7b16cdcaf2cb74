// Round numbers. What is drawn is never computed with: libm will do.
#include "shared/chart_axis.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// The least of 1, 2, 5, 10 x 10^k that is `size` or more.
static double round_up(double size) {
  double power = pow(10, floor(log10(size)));
  for (int i = 0; i < 3; i++) {
    static const double factors[] = {1, 2, 5};
    if (factors[i] * power >= size * (1 - 1e-9)) return factors[i] * power;
  }
  return 10 * power;
}

// What differences, tenths and tens of a value have room for.
static double within(double value) { return fabs(value) < 1e-290 ? 0 : fmin(fmax(value, -1e300), 1e300); }

static void widen(double *low, double *high) { // an axis needs two ends
  double room = *low == 0 ? 0.5 : fabs(*low) * 0.1;
  *low = *low == 0 ? 0 : *low - room;
  *high += *high == 0 ? 1 : room;
}

void zk_axis_fit(double low, double high, int num_wanted, bool whole, bool tight, zk_axis *out) {
  memset(out, 0, sizeof *out);
  low = within(low), high = within(high);
  if (!(high - low > fabs(high) * 1e-12)) widen(&low, &high);
  double step = round_up((high - low) / num_wanted);
  if (whole && step < 1) step = 1;
  double first = floor(low / step + 1e-9), last = ceil(high / step - 1e-9);
  out->low = tight ? low : first * step, out->high = tight ? high : last * step, out->step = step;
  if (tight) first = ceil(low / step - 1e-9), last = floor(high / step + 1e-9);
  for (double n = first; n <= last && out->num_ticks < ZK_AXIS_MAX_TICKS; n++) out->ticks[out->num_ticks++] = n * step;
}

void zk_axis_fit_log(double low, double high, zk_axis *out) {
  memset(out, 0, sizeof *out);
  out->is_log = true;
  low = fmin(fmax(low, 1e-290), 1e299), high = fmin(fmax(high, low), 1e300);
  int first = (int)floor(log10(low) + 1e-9), last = (int)ceil(log10(high) - 1e-9);
  if (last <= first) last = first + 1;
  int stride = (last - first) / 6 + 1; // decades between ticks
  out->low = pow(10, first), out->high = pow(10, last);
  for (int k = first; k <= last && out->num_ticks < ZK_AXIS_MAX_TICKS; k += stride) out->ticks[out->num_ticks++] = pow(10, k);
}

double zk_axis_place(const zk_axis *axis, double value) {
  if (!axis->is_log) return (value - axis->low) / (axis->high - axis->low);
  return (log(value) - log(axis->low)) / (log(axis->high) - log(axis->low));
}

// Decimals that a multiple of `step` needs.
static int decimals(double step) {
  int places = (int)ceil(-log10(step) - 1e-9);
  return places > 0 ? places : 0;
}

const char *zk_axis_label(const zk_axis *axis, double tick, char out[ZK_AXIS_LABEL_BYTES]) {
  double size = fabs(axis->low) > fabs(axis->high) ? fabs(axis->low) : fabs(axis->high), step = axis->step;
  if (axis->is_log) size = fabs(tick), step = fabs(tick);
  const char *sign = tick < 0 ? "\u2212" : "";
  double value = fabs(tick);
  static const struct {
    double unit;
    const char *text;
  } units[] = {{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}};
  if (value < step * 1e-6) snprintf(out, ZK_AXIS_LABEL_BYTES, "0");
  else if (size < 1e-3 || size >= 1e15) { // 5e-7
    int power = (int)floor(log10(value) + 1e-9), digits = decimals(step / pow(10, power));
    snprintf(out, ZK_AXIS_LABEL_BYTES, "%s%.*fe%s%d", sign, digits, value / pow(10, power), power < 0 ? "\u2212" : "", power < 0 ? -power : power);
  } else {
    double unit = 1;
    const char *text = "";
    for (int i = 0; size >= 1e4 && i < 4 && unit == 1; i++)
      if (size >= units[i].unit) unit = units[i].unit, text = units[i].text;
    snprintf(out, ZK_AXIS_LABEL_BYTES, "%s%.*f%s", sign, decimals(step / unit), value / unit, text);
  }
  return out;
}
