// Axes end at round numbers and say them shortly; points keep what they stand for; charts of odd data are whole SVG, and text from data stays text.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/chart.h"
#include "shared/chart_axis.h"
#include "shared/markup.h"

// ---- axes

static void expect_labels(const zk_axis *axis, const char *expected) {
  char all[512] = "", label[ZK_AXIS_LABEL_BYTES];
  for (int i = 0; i < axis->num_ticks; i++) {
    if (i) strcat(all, " ");
    strcat(all, zk_axis_label(axis, axis->ticks[i], label));
  }
  assert_string_equal(all, expected);
}

static void ticks_are_round(void **state) {
  zk_axis a;
  zk_axis_fit(0.03, 0.47, 4, false, false, &a);
  expect_labels(&a, "0 0.2 0.4 0.6");
  zk_axis_fit(-0.013, 0.041, 4, false, false, &a);
  expect_labels(&a, "\u22120.02 0 0.02 0.04 0.06");
  zk_axis_fit(0, 101, 6, true, true, &a);
  expect_labels(&a, "0 20 40 60 80 100");
  assert_true(a.low == 0 && a.high == 101);
  zk_axis_fit(0, 3, 6, true, true, &a); // whole numbers only
  expect_labels(&a, "0 1 2 3");
  zk_axis_fit(12000, 187000, 4, false, false, &a);
  expect_labels(&a, "0 50k 100k 150k 200k");
  zk_axis_fit(0, 2.4e9, 4, false, false, &a);
  expect_labels(&a, "0 1G 2G 3G");
  zk_axis_fit(0, 4e-7, 4, false, false, &a);
  expect_labels(&a, "0 1e\u22127 2e\u22127 3e\u22127 4e\u22127");
}

static void a_constant_has_room(void **state) {
  zk_axis a;
  zk_axis_fit(0, 0, 4, true, false, &a);
  expect_labels(&a, "0 1");
  const double values[] = {5, -5, 1e-6, 1e300, -1e300};
  for (int i = 0; i < 5; i++) {
    zk_axis_fit(values[i], values[i], 4, false, false, &a);
    assert_true(a.low < values[i] && values[i] < a.high && a.num_ticks >= 2);
  }
}

static void logarithmic_axes_have_decades(void **state) {
  zk_axis a;
  zk_axis_fit_log(0.02, 300, &a);
  expect_labels(&a, "0.01 0.1 1 10 100 1000");
  assert_true(fabs(zk_axis_place(&a, 1) - 0.4) < 1e-12);
  zk_axis_fit_log(3e-9, 2e12, &a);
  assert_in_range(a.num_ticks, 4, 8);
  zk_axis_fit_log(5, 5, &a);
  assert_true(a.low < 5 && 5 < a.high);
}

// ---- points

static void few_values_are_themselves_and_many_are_merged(void **state) {
  enum { NUM = 1801 };
  static double x[NUM], y[NUM];
  for (int i = 0; i < NUM; i++) x[i] = i, y[i] = i == 4 ? 100 : 1;
  zk_chart_point *points;
  int64_t num;
  assert_int_equal(zk_chart_points_make(x, y, ZK_CHART_MAX_POINTS, &points, &num), ZK_OK);
  assert_int_equal(num, ZK_CHART_MAX_POINTS);
  assert_true(points[4].mean == 100 && points[4].first == 4 && points[4].last == 4);
  free(points);
  assert_int_equal(zk_chart_points_make(x, y, NUM, &points, &num), ZK_OK); // four steps a point
  assert_int_equal(num, 451);
  assert_true(points[1].first == 4 && points[1].last == 7 && points[1].high == 100 && points[1].low == 1 && points[1].mean == 25.75);
  assert_true(points[450].first == 1800 && points[450].last == 1800);
  free(points);
  assert_int_equal(zk_chart_points_make(x, y, 0, &points, &num), ZK_OK);
  assert_int_equal(num, 0);
}

static void smoothing_keeps_constants_and_beginnings(void **state) {
  zk_chart_point points[30];
  double out[30];
  for (int i = 0; i < 30; i++) points[i] = (zk_chart_point){i, i, 3, 3, 3};
  zk_chart_series s = {.points = points, .num_points = 30};
  zk_chart_smooth(&s, 0.9, out);
  for (int i = 0; i < 30; i++) assert_true(fabs(out[i] - 3) < 1e-12);
  points[29].mean = 13; // weights 0.1 x 0.9^k, of a sum of 1 - 0.9^30
  zk_chart_smooth(&s, 0.9, out);
  assert_true(fabs(out[29] - (3 + 10 * 0.1 / (1 - 0.042391158275216)) ) < 1e-9);
  s.num_points = ZK_CHART_LEAST_SMOOTHED - 1;
  points[0].mean = 7;
  zk_chart_smooth(&s, 0.9, out);
  assert_true(out[0] == 7 && out[1] == 3);
}

// ---- pictures

static char *draw(const zk_chart *chart) {
  char *text = NULL;
  size_t num_bytes;
  FILE *out = open_memstream(&text, &num_bytes);
  zk_chart_write(chart, "c", out);
  assert_int_equal(fclose(out), 0);
  assert_null(strstr(text, "nan"));
  assert_null(strstr(text, "inf"));
  assert_non_null(strstr(text, "</svg>"));
  return text;
}

static int count(const char *text, const char *what) {
  int num = 0;
  for (const char *at = text; (at = strstr(at, what)); at++) num++;
  return num;
}

static void odd_data_is_drawn(void **state) {
  static const double odd[][3] = {{0, 0, 0}, {1e-320, 2, 3}, {-1e308, 0, 1e308}, {1, 1, 1}, {-3, -2, -1}};
  for (size_t k = 0; k < sizeof odd / sizeof *odd; k++)
    for (int num = 0; num <= 3; num++)
      for (int kind = 0; kind < 4; kind++) { // lines, logarithmic, cut, stacked
        zk_chart_point p[3];
        for (int i = 0; i < 3; i++) {
          double y = kind == 3 ? fabs(odd[k][i]) : odd[k][i];
          p[i] = (zk_chart_point){i, i, y, y, y};
        }
        zk_chart_series s[2] = {{.name = "a", .points = p, .num_points = num}, {.name = "b", .color = 12, .run = 1, .points = p, .num_points = num}};
        zk_chart c = {.kind = kind == 3 ? ZK_CHART_STACKED : ZK_CHART_LINES, .title = "", .subtitle = "", .series = s, .num_series = 2, .log_y = kind == 1,
                      .cut_outliers = kind == 2, .has_legend = true, .smoothing = 0.5};
        free(draw(&c));
      }
}

static void outliers_are_cut_and_told(void **state) {
  zk_chart_point p[100];
  for (int i = 0; i < 100; i++) p[i] = (zk_chart_point){i, i, i == 5 ? 80 : 1, i == 5 ? 80 : 1, i == 5 ? 80 : 1};
  zk_chart_series s = {.name = "a", .points = p, .num_points = 100};
  zk_chart c = {.title = "t", .subtitle = "", .series = &s, .num_series = 1, .cut_outliers = true};
  zk_chart_frame f;
  zk_chart_frame_make(&c, &f);
  assert_true(f.y_high < 3);
  char *text = draw(&c);
  assert_non_null(strstr(text, "1 beyond, up to 80"));
  free(text);
  c.cut_outliers = false;
  zk_chart_frame_make(&c, &f);
  assert_true(f.y_high >= 80);
}

static void each_series_is_there(void **state) {
  zk_chart_point p[2] = {{0, 0, 1, 1, 1}, {1, 1, 2, 2, 2}};
  zk_chart_series s[12];
  for (int i = 0; i < 12; i++) s[i] = (zk_chart_series){.name = "</text><script>&\"'", .color = i, .run = i, .points = p, .num_points = 2};
  zk_chart c = {.title = "<b>\x01\xff\u202e", .subtitle = "\"", .series = s, .num_series = 12, .has_legend = true};
  char *text = draw(&c);
  assert_int_equal(count(text, "<g class=\"r"), 12);
  assert_int_equal(count(text, "line k0 dash"), 2); // in the legend and in the plot: the eleventh series
  assert_null(strstr(text, "<script>"));
  assert_non_null(strstr(text, "&lt;b&gt;\u2401\ufffd\ufffd"));
  free(text);
  c.kind = ZK_CHART_STACKED;
  text = draw(&c);
  assert_int_equal(count(text, "class=\"area f"), 24);
  zk_chart_frame f;
  zk_chart_frame_make(&c, &f);
  assert_true(f.y_high >= 24); // they stand on each other
  free(text);
}

// ---- text

static void text_stays_text(void **state) {
  char *text = NULL;
  size_t num_bytes;
  FILE *out = open_memstream(&text, &num_bytes);
  zk_markup_bytes("a\0b\n<\xc3", 6, out);
  fputc('|', out);
  zk_markup_json_string("</script>\"\\\n\x7f\xff \u2028gr\u00fc\u00df", out);
  fclose(out);
  assert_string_equal(text, "a\u2400b\n&lt;\ufffd|\"\\u003c/script\\u003e\\u0022\\u005c\\u000a\x7f\ufffd \\u2028gr\u00fc\u00df\"");
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ticks_are_round), cmocka_unit_test(a_constant_has_room), cmocka_unit_test(logarithmic_axes_have_decades),
      cmocka_unit_test(few_values_are_themselves_and_many_are_merged), cmocka_unit_test(smoothing_keeps_constants_and_beginnings),
      cmocka_unit_test(odd_data_is_drawn), cmocka_unit_test(outliers_are_cut_and_told), cmocka_unit_test(each_series_is_there), cmocka_unit_test(text_stays_text)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
