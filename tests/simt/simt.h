// What the files of the emulated device share.
#ifndef ZK_SIMT_H
#define ZK_SIMT_H

#include <cuda_runtime.h>

extern int zk_simt_num_sms;

// Device memory can be read and written between these two.
void zk_simt_arena_open(void);
void zk_simt_arena_close(void);
bool zk_simt_in_arena(const void *memory);
// Runs `work` after all that was queued on the stream before it; at once on the default stream.
void zk_simt_queue(zk_simt_stream *stream, std::function<void()> work);
void zk_simt_finish_all(void); // everything on every stream

#endif
