// Errors are values. A function that can fail returns zk_status; the text of the last error of this thread, with the
// frames it passed through, is kept aside for the one place that prints it (main).
#ifndef ZK_KERNELS_STATUS_H
#define ZK_KERNELS_STATUS_H

// X(name, exit code of the process, what it means to a person)
#define ZK_STATUS_LIST(X)                                                                                              \
  X(OK, 0, "success")                                                                                                  \
  X(BAD_INPUT, 2, "bad input")               /* config, model, tokenizer, dataset, arguments */                        \
  X(UNSUPPORTED, 2, "not supported")         /* well-formed input that this build does not deliver */                  \
  X(BAD_ARCHIVE, 2, "damaged archive")       /* a file of ours that is truncated, unreadable or fails its digest */    \
  X(OUT_OF_MEMORY, 2, "not enough memory")                                                                             \
  X(IO, 2, "input/output failed")            /* disk full, permission, short read */                                   \
  X(DEVICE, 2, "device failed")                                                                                        \
  X(BUSY, 2, "in use")                       /* a run directory held by another process */                             \
  X(MISMATCH, 1, "bits differ")                                                                                        \
  X(NOT_FINITE, 1, "not finite")             /* NaN or infinity where a number must be */                              \
  X(COMM, 1, "communication failed")                                                                                   \
  X(INTERRUPTED, 3, "interrupted")           /* a signal asked a run to stop; its checkpoint is written */              \
  X(INTERNAL, 1, "internal error")

typedef enum {
#define X(name, code, text) ZK_##name,
  ZK_STATUS_LIST(X)
#undef X
      ZK_NUM_STATUS
} zk_status_code;

#ifdef __cplusplus
extern "C" {
#define ZK_NODISCARD
#else
#define ZK_NODISCARD __attribute__((warn_unused_result))
#endif

typedef zk_status_code zk_status;

// Records a message and the place, and returns `code`: `return ZK_FAIL(ZK_BAD_INPUT, "%s: no such key", name);`
#define ZK_FAIL(code, ...) zk_status_fail((code), __FILE__, __LINE__, __func__, __VA_ARGS__)
zk_status zk_status_fail(zk_status code, const char *file, int line, const char *func, const char *fmt, ...)
    __attribute__((format(printf, 5, 6), cold));

// Evaluates a zk_status expression; on failure adds this frame and returns it from the calling function.
#define ZK_TRY(expr)                                                                                                   \
  do {                                                                                                                 \
    zk_status zk_try_status_ = (expr);                                                                                 \
    if (zk_try_status_ != ZK_OK) return zk_status_frame(zk_try_status_, __FILE__, __LINE__, __func__);                 \
  } while (0)

// The same for functions with one exit: sets `st` and jumps to `label`.
#define ZK_TRY_GOTO(st, label, expr)                                                                                   \
  do {                                                                                                                 \
    (st) = (expr);                                                                                                     \
    if ((st) != ZK_OK) {                                                                                               \
      (void)zk_status_frame((st), __FILE__, __LINE__, __func__);                                                       \
      goto label;                                                                                                      \
    }                                                                                                                  \
  } while (0)

// Adds a frame to the last error of this thread and returns `status` unchanged.
zk_status zk_status_frame(zk_status status, const char *file, int line, const char *func);
// Puts "context: " before the last error's message (e.g. the file being read) and returns `status` unchanged.
zk_status zk_status_context(zk_status status, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));

// The last message of this thread ("" if none), and its frames, one per line, innermost first. Valid until the next failure.
const char *zk_status_message(void);
const char *zk_status_frames(void);
void zk_status_clear(void);
// What cleans up behind a failure, and may fail itself, keeps the first message: save before, restore after.
typedef struct {
  char message[2048], frames[2048];
} zk_status_record;
void zk_status_save(zk_status_record *out);
void zk_status_restore(const zk_status_record *record);
const char *zk_status_text(zk_status status);   // "bad input"
int zk_status_exit_code(zk_status status);      // 0 to 3

#ifdef __cplusplus
}
#endif
#endif
