// The lines of a manifest taken in one by one, with the chain: under the writer (manifest.c) and the auditor
// (manifest_verify.c).
#ifndef ZK_SHARED_MANIFEST_LINES_H
#define ZK_SHARED_MANIFEST_LINES_H

#include <jansson.h>

#include "shared/line_file.h"
#include "shared/manifest.h"

struct zk_manifest {
  zk_path run_path, path;     // RUN, RUN/manifest.jsonl
  zk_manifest_entry *entries; // in the order of the file
  size_t num_entries, capacity;
  json_t *latest;                  // path -> index of its latest entry
  char last_digest[ZK_SHA256_HEX]; // of the last line; 64 zeros before the first
};

// Fills an empty, zeroed manifest; release with zk_manifest_close (which frees `m` too: it is malloc'ed).
zk_status zk_manifest_init(zk_manifest *m, const char *run_path);

// Takes in the next line. *out_fault is NULL, or what is wrong with it (a constant text): not well-formed (then it is
// passed over), not chained to the line before, or a second digest for a file (then it is taken all the same).
zk_status zk_manifest_take_line(zk_manifest *m, zk_line line, const char **out_fault);

// True for `folder` itself and what lies in it.
bool zk_manifest_is_under(const char *path, const char *folder);

#endif
