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

// How far `path` is from the key or group `candidate`; the right name in the wrong group is near.
static int distance_to(const char *path, const char *candidate, int candidate_len) {
  int d = distance(path, (int)strlen(path), candidate, candidate_len);
  return d > 1 && strcmp(last_part(path), last_part(candidate)) == 0 ? 1 : d;
}

const char *zk_config_key_suggest(const char *path, char out[ZK_CONFIG_MAX_PATH]) {
  int len = (int)strnlen(path, MAX_LEN + 1);
  if (len > MAX_LEN) return NULL;
  int allowed = (int)strlen(last_part(path)) / 2; // edits: a short name must not match everything
  int best = 1 + (allowed < 1 ? 1 : allowed > MAX_DISTANCE ? MAX_DISTANCE : allowed);
  out[0] = 0;
  for (int i = 0; i < zk_config_num_keys; i++) {
    const char *candidate = zk_config_keys[i].path;
    for (int end = 1; end <= (int)strnlen(candidate, MAX_LEN); end++) {
      if (candidate[end] != 0 && candidate[end] != '.') continue; // the whole key, or a group of it
      int d = candidate[end] ? distance(path, len, candidate, end) : distance_to(path, candidate, end);
      if (d >= best) continue;
      best = d;
      snprintf(out, ZK_CONFIG_MAX_PATH, "%.*s", end, candidate);
    }
  }
  return out[0] ? out : NULL;
}
