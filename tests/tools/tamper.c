// Tampers with a run, for tests of verify: flips one stored bit, and on request makes every digest say that all is
// well.
//
//   tamper flip RUN FILE NAME INDEX BIT   element INDEX of dataset or tensor NAME in RUN/FILE (.h5 or .safetensors)
//   tamper reseal RUN                     content_hash of every trajectory, DONE of every checkpoint, then the manifest
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/hdf5_util.h"
#include "shared/manifest_lines.h"
#include "shared/run_dir.h"
#include "shared/safetensors.h"
#include "shared/trajectory_file.h"

// ---- flip
// ------------------------------------------------------------------------------------------------------------

// Reads, flips and writes one element through HDF5, so that its checksums of the chunk are right again.
static bool flip_element(hid_t dataset, hsize_t index, unsigned bit) {
  unsigned char raw[16] = {0};
  hsize_t dims[2] = {0, 1}, at[2];
  hid_t type = H5Dget_type(dataset), space = H5Dget_space(dataset), one = H5Screate(H5S_SCALAR);
  int num_dims = H5Sget_simple_extent_dims(space, dims, NULL);
  at[0] = index / dims[1];
  at[1] = index % dims[1];
  bool ok = num_dims >= 1 && num_dims <= 2 && bit < 8 * H5Tget_size(type) && H5Tget_size(type) <= sizeof raw &&
            H5Sselect_elements(space, H5S_SELECT_SET, 1, at) >= 0 &&
            H5Dread(dataset, type, one, space, H5P_DEFAULT, raw) >= 0;
  raw[bit / 8] ^= (unsigned char)(1u << bit % 8);
  ok = ok && H5Dwrite(dataset, type, one, space, H5P_DEFAULT, raw) >= 0;
  H5Sclose(one);
  H5Sclose(space);
  H5Tclose(type);
  return ok;
}

static zk_status flip_hdf5(const char *path, const char *name, int64_t index, unsigned bit) {
  zk_h5_quiet();
  hid_t access = zk_h5_access(), file = H5Fopen(path, H5F_ACC_RDWR, access);
  hid_t dataset = file < 0 ? H5I_INVALID_HID : H5Dopen2(file, name, H5P_DEFAULT);
  bool ok = dataset >= 0 && flip_element(dataset, (hsize_t)index, bit);
  if (dataset >= 0) H5Dclose(dataset);
  if (file >= 0 && H5Fclose(file) < 0) ok = false;
  H5Pclose(access);
  return ok ? ZK_OK : ZK_FAIL(ZK_BAD_INPUT, "%s: cannot flip %s[%" PRId64 "]: %s", path, name, index, zk_h5_reason());
}

static zk_status flip_safetensors(const char *path, const char *name, int64_t index, unsigned bit) {
  char *bytes;
  size_t num_bytes;
  zk_safetensors *file;
  ZK_TRY(zk_file_read(path, (size_t)1 << 32, &bytes, &num_bytes));
  zk_status st = zk_safetensors_open_memory(path, bytes, num_bytes, &file);
  if (st == ZK_OK) {
    const zk_safetensor *tensor = zk_safetensors_find(file, name);
    size_t size = tensor ? zk_dtype_bytes(tensor->dtype) : 0;
    if (!tensor || index < 0 || index >= tensor->num_elements || bit >= 8 * size)
      st = ZK_FAIL(ZK_BAD_INPUT, "%s: no %s[%" PRId64 "] with a bit %u", path, name, index, bit);
    else bytes[((const char *)tensor->data - bytes) + index * (int64_t)size + bit / 8] ^= (char)(1u << bit % 8);
    zk_safetensors_close(file);
  }
  if (st == ZK_OK) st = zk_file_write(path, bytes, num_bytes);
  free(bytes);
  return st;
}

static zk_status flip(const char *run, const char *file, const char *name, int64_t index, unsigned bit) {
  zk_path path = zk_path_make("%s/%s", run, file);
  const char *suffix = strrchr(file, '.');
  if (suffix && !strcmp(suffix, ".h5")) return flip_hdf5(path.s, name, index, bit);
  return flip_safetensors(path.s, name, index, bit);
}

// ---- reseal
// ----------------------------------------------------------------------------------------------------------

static zk_status reseal_trajectory(const char *path) {
  zk_trajectory t;
  bool sealed;
  ZK_TRY(zk_trajectory_read_unsealed(path, &t, &sealed));
  zk_status st = ZK_OK;
  if (!sealed) {
    void *bytes;
    size_t num_bytes;
    t.content_hash = zk_trajectory_content_hash(&t);
    st = zk_trajectory_image(&t, &bytes, &num_bytes);
    if (st == ZK_OK) st = zk_file_write(path, bytes, num_bytes);
    if (st == ZK_OK) free(bytes);
  }
  zk_trajectory_free(&t);
  return st;
}

// Puts the present digest into each "digest  file" line of DONE.
static zk_status reseal_done(const char *dir) {
  zk_path path = zk_path_make("%s/DONE", dir);
  char *text;
  size_t num_bytes;
  ZK_TRY(zk_file_read(path.s, 1 << 24, &text, &num_bytes));
  zk_status st = ZK_OK;
  for (char *line = text, *end; st == ZK_OK && (end = strchr(line, '\n')); line = end + 1) {
    char digest[ZK_SHA256_HEX];
    const char *name = line + ZK_SHA256_HEX + 1;
    st = zk_sha256_file(zk_path_make("%s/%.*s", dir, (int)(end - name), name).s, digest, NULL);
    if (st == ZK_OK) memcpy(line, digest, ZK_SHA256_HEX - 1);
  }
  if (st == ZK_OK) st = zk_file_write(path.s, text, num_bytes);
  free(text);
  return st;
}

// A new manifest of the same files, in the same order.
static zk_status reseal_manifest(const char *run) {
  zk_manifest *before, *after = NULL;
  ZK_TRY(zk_manifest_open(run, &before));
  zk_status st = zk_file_remove_tree(before->path.s);
  if (st == ZK_OK) st = zk_manifest_open(run, &after);
  for (size_t i = 0; st == ZK_OK && i < before->num_entries; i++)
    if (!before->entries[i].removed) st = zk_manifest_add(after, (const char *const[]){before->entries[i].path}, 1);
  zk_manifest_close(after);
  zk_manifest_close(before);
  return st;
}

static zk_status reseal(const char *run_path) {
  zk_run_dir run;
  int64_t *steps;
  size_t num;
  ZK_TRY(zk_run_dir_open_read(run_path, &run));
  ZK_TRY(zk_run_dir_list_trajectories(&run, &steps, &num));
  for (size_t i = 0; i < num; i++) ZK_TRY(reseal_trajectory(zk_run_dir_trajectory_path(&run, steps[i]).s));
  free(steps);
  ZK_TRY(zk_run_dir_list_checkpoints(&run, &steps, &num));
  for (size_t i = 0; i < num; i++) ZK_TRY(reseal_done(zk_run_dir_checkpoint_path(&run, steps[i]).s));
  free(steps);
  return reseal_manifest(run_path);
}

int main(int argc, char **argv) {
  zk_status st;
  if (argc == 7 && !strcmp(argv[1], "flip"))
    st = flip(argv[2], argv[3], argv[4], strtoll(argv[5], NULL, 10), (unsigned)strtoul(argv[6], NULL, 10));
  else if (argc == 3 && !strcmp(argv[1], "reseal")) st = reseal(argv[2]);
  else st = ZK_FAIL(ZK_BAD_INPUT, "usage: tamper flip RUN FILE NAME INDEX BIT | tamper reseal RUN");
  if (st != ZK_OK) fprintf(stderr, "tamper: %s\n", zk_status_message());
  return zk_status_exit_code(st);
}
