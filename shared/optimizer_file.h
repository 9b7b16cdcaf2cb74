// optimizer.h5 of a checkpoint: Adam's two moments in global element order, written and read range by range, never
// gathered whole.
//
// The global order is the one of weights/hash: tensors in Hugging Face name order, a tied head once. Master weights are
// the checkpoint's model files (f32). The datasets are contiguous, so the bytes do not depend on how the ranges were
// cut.
#ifndef ZK_SHARED_OPTIMIZER_FILE_H
#define ZK_SHARED_OPTIMIZER_FILE_H

#include <stdint.h>

#include "kernels/status.h"

#define ZK_OPTIMIZER_SCHEMA_VERSION 1

// X(name, HDF5 name, description)
#define ZK_OPTIMIZER_LIST(X)                                                                                           \
  X(EXP_AVG, "exp_avg", "shape [num_elements]; unit loss per weight; Adam's first moment, global element order")       \
  X(EXP_AVG_SQ, "exp_avg_sq", "shape [num_elements]; unit squared loss per weight; Adam's second moment, global order")
typedef enum {
#define X(name, text, description) ZK_OPTIMIZER_##name,
  ZK_OPTIMIZER_LIST(X)
#undef X
      ZK_OPTIMIZER_NUM_DATASETS
} zk_optimizer_dataset;

typedef struct zk_optimizer_file zk_optimizer_file;

// Begins a file beside `path` (which finish renames it to). `step`: updates applied so far. num_elements >= 1.
zk_status zk_optimizer_file_create(const char *path, int64_t step, int64_t num_elements, zk_optimizer_file **out);
// Writes elements [first, first + count) from `data`. Ranges come in any order, each element of each dataset exactly
// once.
zk_status zk_optimizer_file_write(zk_optimizer_file *f, zk_optimizer_dataset dataset, int64_t first, int64_t count,
                                  const float *data);
// In their place: all elements are zero, as before the first update. The file is as long as ever, and its elements are holes, which take no disk.
void zk_optimizer_file_write_zeros(zk_optimizer_file *f);
// Checks that all elements came, flushes and renames. Frees `f` whatever happens; a failure leaves no file behind.
zk_status zk_optimizer_file_finish(zk_optimizer_file *f);

// Opens for reading; ZK_BAD_ARCHIVE for anything that is not such a file.
zk_status zk_optimizer_file_open(const char *path, zk_optimizer_file **out);
int64_t zk_optimizer_file_step(const zk_optimizer_file *f);
int64_t zk_optimizer_file_num_elements(const zk_optimizer_file *f);
zk_status zk_optimizer_file_read(zk_optimizer_file *f, zk_optimizer_dataset dataset, int64_t first, int64_t count,
                                 float *out);

// Ends reading, or gives up writing (the temporary file is removed). NULL is fine.
void zk_optimizer_file_close(zk_optimizer_file *f);

#endif
