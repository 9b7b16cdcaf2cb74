// Charts as files: SVG by the same code that the page has them from, PNG by librsvg's converter from those.
#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "shared/file_util.h"
#include "shared/log.h"
#include "shared/report_charts.h"

extern char **environ;

static zk_status write_svg(const zk_chart *chart, const char *path) {
  char *text = NULL;
  size_t num_bytes = 0;
  FILE *out = open_memstream(&text, &num_bytes);
  if (!out) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %s", path);
  zk_chart_write(chart, NULL, out);
  zk_status st = fclose(out) ? ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %s", path) : zk_file_write(path, text, num_bytes);
  free(text);
  return st;
}

// Runs rsvg-convert at twice the size. *out_code: its exit code, 127 when there is no such program.
static zk_status convert(const char *svg, const char *png, int *out_code) {
  char *argv[] = {"rsvg-convert", "-z", "2", "-o", (char *)png, (char *)svg, NULL};
  pid_t pid;
  int status = 0, error = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);
  *out_code = 127;
  if (error == ENOENT || error == EACCES) return ZK_OK;
  if (error) return ZK_FAIL(ZK_IO, "cannot start rsvg-convert: %s", strerror(error));
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return ZK_FAIL(ZK_IO, "lost rsvg-convert: %s", strerror(errno));
  *out_code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
  return ZK_OK;
}

static zk_status write_png(const char *svg, const char *png, bool *is_missing) {
  zk_path aside = zk_file_temp_path(png);
  int code;
  ZK_TRY(convert(svg, aside.s, &code));
  if (code == 0) return zk_file_publish(aside.s, png);
  ZK_TRY(zk_file_remove_tree(aside.s));
  *is_missing = code == 127;
  return *is_missing ? ZK_OK : ZK_FAIL(ZK_IO, "rsvg-convert could not make %s of %s (exit code %d)", png, svg, code);
}

zk_status zk_report_pictures_write(const zk_report_charts *charts, const zk_report_options *options, const char *dir) {
  bool is_missing = false;
  for (int i = 0; i < charts->num_charts; i++) {
    const zk_report_chart *c = &charts->charts[i];
    zk_path svg = zk_path_make("%s/%s.svg", dir, c->id);
    ZK_TRY(write_svg(&c->chart, svg.s));
    if (options->png && !is_missing) ZK_TRY(write_png(svg.s, zk_path_make("%s/%s.png", dir, c->id).s, &is_missing));
  }
  if (is_missing)
    ZK_LOG(INFO, "report", "no PNG files: rsvg-convert is not installed (Debian and Ubuntu: apt-get install librsvg2-bin); page and SVG files are complete");
  return ZK_OK;
}
