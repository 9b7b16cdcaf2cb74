// Gather a line from each rank, find what most have, name the first that has another.
#define _GNU_SOURCE // strchrnul
#include "shared/comm_same.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "kernels/faults.h"
#include "kernels/numerics.h"
#include "shared/version.h"

typedef struct {
  char host[64], text[448];
} card;

// The rank whose text is the rule: the lowest of those that most agree with.
static int find_rule(const card *cards, int size) {
  int rule = 0, most = 0;
  for (int r = 0; r < size; r++) {
    int num = 0;
    for (int q = 0; q < size; q++) num += !strcmp(cards[r].text, cards[q].text);
    if (num > most) rule = r, most = num;
  }
  return rule;
}

zk_status zk_comm_require_same(zk_comm *comm, const char *what, const char *text, const char *mend) {
  const int size = zk_comm_size(comm);
  if (size == 1) return ZK_OK;
  card mine;
  void *all = NULL;
  memset(&mine, 0, sizeof mine);
  gethostname(mine.host, sizeof mine.host - 1);
  snprintf(mine.text, sizeof mine.text, "%s", text);
  ZK_TRY(zk_comm_agree(comm, zk_comm_all_gather(comm, &mine, sizeof mine, &all, NULL)));
  const card *cards = all;
  const int rule = find_rule(cards, size);
  int odd = 0, num_odd = 0;
  for (int r = size - 1; r >= 0; r--)
    if (strcmp(cards[r].text, cards[rule].text)) odd = r, num_odd++;
  zk_status st = ZK_OK;
  if (num_odd)
    st = ZK_FAIL(ZK_BAD_INPUT, "%s: workers differ: rank %d on %s has %s, %d of %d have %s: %s", what, odd, cards[odd].host, cards[odd].text,
                 size - num_odd, size, cards[rule].text, mend);
  free(all);
  return zk_comm_agree(comm, st);
}

zk_status zk_comm_require_same_hash(zk_comm *comm, const char *what, uint64_t hash, const char *mend) {
  char text[32];
  snprintf(text, sizeof text, "hash %016llx", (unsigned long long)hash);
  return zk_comm_require_same(comm, what, text, mend);
}

zk_status zk_comm_require_same_build(zk_comm *comm) {
  char text[160];
  snprintf(text, sizeof text, "%s (commit %s, contract %d%s)", zk_version(), zk_version_commit(), ZK_CONTRACT_VERSION,
           zk_faults_are_built() ? ", with faults" : "");
  return zk_comm_require_same(comm, "zerokl itself", text, "install the same build on every host");
}

// Line `index` of the text without the spaces before it, "nothing there" behind the last; of a long one the beginning, and a hash of the whole.
static void copy_line(const char *text, uint64_t index, char *line, size_t room) {
  enum { MOST = 300 };
  for (uint64_t i = 0; i < index; i++) {
    const char *end = strchrnul(text, '\n');
    text = *end ? end + 1 : end;
  }
  text += strspn(text, " ");
  const size_t bytes = (size_t)(strchrnul(text, '\n') - text);
  if (bytes > MOST) snprintf(line, room, "%.*s... (hash %016llx)", MOST, text, (unsigned long long)XXH3_64bits(text, bytes));
  else if (bytes) snprintf(line, room, "%.*s", (int)bytes, text);
  else snprintf(line, room, "nothing there");
}

// The first line in which this rank's config is not rank 0's; "" when none. All ranks then compare the same line.
static zk_status first_difference(zk_comm *comm, const char *text, size_t bytes, uint64_t *out) {
  uint64_t first_bytes = bytes, line = 0;
  ZK_TRY(zk_comm_broadcast(comm, 0, &first_bytes, sizeof first_bytes));
  char *first = malloc((size_t)first_bytes + 1);
  zk_status st = zk_comm_agree(comm, first ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory to compare configs"));
  if (st == ZK_OK && zk_comm_rank(comm) == 0) memcpy(first, text, bytes + 1);
  if (st == ZK_OK) st = zk_comm_broadcast(comm, 0, first, (size_t)first_bytes + 1);
  for (size_t i = 0; st == ZK_OK && (text[i] || first[i]); i++) {
    if (text[i] != first[i]) {
      *out = UINT64_MAX - line; // for a maximum that gives the first of all ranks
      break;
    }
    line += text[i] == '\n';
  }
  free(first);
  return st;
}

zk_status zk_comm_require_same_config(zk_comm *comm, const zk_config *config) {
  char *text = NULL, line[400] = "";
  size_t bytes = 0;
  uint64_t where = 0;
  if (zk_comm_size(comm) == 1) return ZK_OK;
  FILE *f = open_memstream(&text, &bytes);
  zk_status st = f ? zk_config_write_yaml(config, f) : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory to compare configs");
  if (f) fclose(f);
  st = zk_comm_agree(comm, st);
  if (st == ZK_OK) st = first_difference(comm, text, bytes, &where);
  if (st == ZK_OK) st = zk_comm_max_u64(comm, &where, 1);
  if (st == ZK_OK && where) {
    copy_line(text, UINT64_MAX - where, line, sizeof line);
    st = zk_comm_require_same(comm, "the config", line, "give every worker the same file and arguments");
  }
  free(text);
  return st;
}

zk_status zk_comm_require_same_device(zk_comm *comm, const zk_device *device) {
  const bool is_gpu = zk_device_get_kind(device) == ZK_DEVICE_CUDA;
  const char *text = zk_device_describe(device); // "cuda:0 NVIDIA H200, ..."
  char name[160] = "a CPU";
  if (is_gpu) text += strcspn(text, " ") + 1;
  if (is_gpu) snprintf(name, sizeof name, "%.*s", (int)strcspn(text, ","), text);
  return zk_comm_require_same(comm, "the device", name, "set device: cpu or cuda, and use hosts of one kind");
}
