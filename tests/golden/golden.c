// golden: writes the golden lines of every operation, as one device computes them.
//
//   golden --device cpu|cuda [--operation NAME] [--out FILE]
//
// The first line says what contract it is, the second (a comment, left out of comparisons) which device computed it; then a line for each output:
//   operation numerics case: output[values] hash = first values' bits
#include "golden.h"

#include <string.h>

static const char usage[] = "usage: golden --device cpu|cuda [--operation NAME] [--out FILE]";

static zk_status write_all(golden *g) {
  static const zk_numerics numerics[] = {ZK_F32, ZK_BF16};
  fprintf(g->out, "contract %d\n# %s\n", ZK_CONTRACT_VERSION, zk_device_describe(g->device));
  zk_status status = ZK_OK;
  for (int i = 0; i < GOLDEN_NUM(numerics) && status == ZK_OK; i++) {
    g->numerics = numerics[i];
    status = golden_rows(g);
    if (status == ZK_OK) status = golden_elementwise(g);
    if (status == ZK_OK) status = golden_linear(g);
    if (status == ZK_OK) status = golden_attention(g);
    if (status == ZK_OK) status = golden_lmhead(g);
  }
  golden_end(g);
  return status == ZK_OK ? ZK_OK : zk_status_context(status, "golden: %s", g->name);
}

static zk_status on_device(zk_device_kind kind, const char *only, FILE *out) {
  golden g = {.out = out, .only = only};
  ZK_TRY(zk_device_open(kind, 0, &g.device));
  zk_status status = zk_stream_open(g.device, ZK_SIDE_NONE, &g.stream);
  if (status == ZK_OK) status = write_all(&g);
  zk_stream_close(g.stream);
  zk_device_close(g.device);
  return status;
}

static zk_status run(int argc, char **argv) {
  const char *device = NULL, *only = NULL, *path = NULL;
  for (int i = 1; i < argc; i += 2) {
    const char *value = i + 1 < argc ? argv[i + 1] : NULL;
    if (value != NULL && strcmp(argv[i], "--device") == 0) device = value;
    else if (value != NULL && strcmp(argv[i], "--operation") == 0) only = value;
    else if (value != NULL && strcmp(argv[i], "--out") == 0) path = value;
    else return ZK_FAIL(ZK_BAD_INPUT, "%s", usage);
  }
  const int on_cuda = device != NULL && strcmp(device, "cuda") == 0;
  if (device == NULL || (!on_cuda && strcmp(device, "cpu") != 0)) return ZK_FAIL(ZK_BAD_INPUT, "%s", usage);
  FILE *out = path != NULL ? fopen(path, "w") : stdout;
  if (out == NULL) return ZK_FAIL(ZK_IO, "%s: cannot be written", path);
  zk_status status = on_device(on_cuda ? ZK_DEVICE_CUDA : ZK_DEVICE_CPU, only, out);
  const int is_bad = ferror(out), is_lost = path != NULL && fclose(out) != 0;
  if (status == ZK_OK && (is_bad || is_lost))
    status = ZK_FAIL(ZK_IO, "%s: cannot be written", path != NULL ? path : "stdout");
  return status;
}

int main(int argc, char **argv) {
  const zk_status status = run(argc, argv);
  if (status != ZK_OK) fprintf(stderr, "golden: %s\n", zk_status_message());
  return zk_status_exit_code(status);
}
