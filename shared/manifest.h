// manifest.jsonl: the SHA-256 of every finished file of a run, one line each, every line holding the digest of the line
// before.
//
//   {"path": "trajectories/step_000001.h5", "bytes": 8123, "sha256": "...", "prev": "sha-256 of the previous line, 64
//   zeros at first"}
//   {"removed": "checkpoints/step_000010", "prev": "..."}      the folder and all entries under it are gone on purpose
//
// Finished files are config.yaml and all under trajectories/, evaluations/ and checkpoints/. metrics.jsonl grows and is not listed:
// its hashes are recomputed by verify.
#ifndef ZK_SHARED_MANIFEST_H
#define ZK_SHARED_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/status.h"
#include "shared/file_util.h"

typedef struct zk_manifest zk_manifest;

typedef struct {
  char *path; // relative to the run directory
  uint64_t num_bytes;
  char sha256[ZK_SHA256_HEX];
  bool removed; // by a later "removed" line
} zk_manifest_entry;

// Opens RUN/manifest.jsonl for appending (absent: empty). A torn last line, left by a kill in mid-append, is cut off.
// A line that is not well-formed, or a broken chain, is ZK_BAD_ARCHIVE with its number. The caller holds the run's
// lock.
zk_status zk_manifest_open(const char *run_path, zk_manifest **out);
void zk_manifest_close(zk_manifest *m);

// Digests each file (paths relative to the run) and appends the lines in one flushed write. A path that is listed with
// this digest already is passed over; with another digest it is ZK_MISMATCH and nothing is appended.
zk_status zk_manifest_add(zk_manifest *m, const char *const *paths, size_t num_paths);
// The same with digests that the caller has made (path, num_bytes and sha256 of each entry are used).
zk_status zk_manifest_add_entries(zk_manifest *m, const zk_manifest_entry *entries, size_t num_entries);
// Appends one "removed" line for a file or folder; a no-op when nothing under it is listed.
zk_status zk_manifest_remove(zk_manifest *m, const char *path);
// The latest entry of a path (perhaps a removed one), or NULL. Valid until the next add.
const zk_manifest_entry *zk_manifest_find(const zk_manifest *m, const char *path);

// Everything wrong with the files of a run, as against its manifest.
typedef enum { ZK_MANIFEST_MISSING, ZK_MANIFEST_DIFFERS, ZK_MANIFEST_UNLISTED, ZK_MANIFEST_CHAIN } zk_manifest_fault;
typedef struct {
  zk_manifest_fault fault;
  char *text; // one line for a person, with the path or the line's number
  char *path; // relative; "manifest.jsonl" for a broken chain
} zk_manifest_problem;
typedef struct {
  zk_manifest_problem *problems;
  size_t num_problems;
  size_t num_checked; // files whose digest was computed
} zk_manifest_report;
// Reads every listed file. Fails only when the manifest itself cannot be read; else problems are in the report, in the
// order found.
zk_status zk_manifest_verify(const char *run_path, zk_manifest_report *out);
void zk_manifest_report_free(zk_manifest_report *report);

#endif
