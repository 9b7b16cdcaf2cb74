// "did you mean": the key nearest to a mistyped one, by edit distance.
#include "shared/config_keys.h"

#include <string.h>

enum { MAX_LEN = 64, MAX_DISTANCE = 3 };

// Levenshtein distance of two texts of at most MAX_LEN bytes.
static int distance(const char *a, int a_len, const char *b, int b_len) {
  int row[MAX_LEN + 1];
  for (int j = 0; j <= b_len; j++) row[j] = j;
  for (int i = 1; i <= a_len; i++) {
    int diagonal = row[0];
    row[0] = i;
    for (int j = 1; j <= b_len; j++) {
      int best = diagonal + (a[i - 1] != b[j - 1]);
      if (row[j] + 1 < best) best = row[j] + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      diagonal = row[j];
      row[j] = best;
    }
  }
  return row[b_len];
}

static const char *last_part(const char *path) {
  const char *dot = strrchr(path, '.');
  return dot ? dot + 1 : path;
}

const char *zk_config_key_suggest(const char *path) {
  size_t len = strlen(path);
  if (len > MAX_LEN) return NULL;
  const char *best = NULL;
  int best_distance = MAX_DISTANCE + 1;
  for (int i = 0; i < zk_config_num_keys; i++) {
    const char *candidate = zk_config_keys[i].path;
    if (strlen(candidate) > MAX_LEN) continue;
    int d = distance(path, (int)len, candidate, (int)strlen(candidate));
    if (strcmp(last_part(path), last_part(candidate)) == 0 && d > 1) d = 1; // the right key in the wrong group
    if (d < best_distance && 2 * d <= (int)len) {
      best = candidate;
      best_distance = d;
    }
  }
  return best;
}
