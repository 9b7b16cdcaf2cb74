// One process of somebody else's program, held at arm's length: its own process group, a bound on memory, pipes that never block us, output that
// never fills us.
//
// What comes from it is an input and decides no order. Whatever it does (sleep, crash, flood, leave children) is seen as one of the states below.
#ifndef ZK_ROLLOUT_PROGRAM_H
#define ZK_ROLLOUT_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "kernels/status.h"

enum {
  ZK_PROGRAM_MOST_BYTES = 1 << 20, // of output to one request
  ZK_PROGRAM_TALK_BYTES = 512      // of its standard error, the last ones, for messages
};

typedef struct {
  pid_t pid; // leader of its group; 0: there is none
  int to, from, talk; // our ends of its standard input, output and error
  char *input;        // [ZK_PROGRAM_MOST_BYTES] output since the last request
  size_t num_input;
  char tail[ZK_PROGRAM_TALK_BYTES];
  size_t num_tail;
} zk_program;

// Starts `/bin/sh -c command` with the worker's environment and folder; it and its children are a process group of their own and have at most
// `memory_bytes` of address space each (0: no bound). The process ends with the worker, however that ends; zk_program_end ends the group with it. Neither
// reaches a child that leaves the group (setsid): it finds its pipes closed. ZK_IO when there can be no process.
zk_status zk_program_start(const char *command, uint64_t memory_bytes, zk_program *out);
// Ends the process and its group at once, waits for what it leaves, closes the pipes. `how` (may be NULL, room bytes) gets what became of it:
// "ended with exit code 3", "was killed by signal 11", "closed its output". A zeroed program is fine.
void zk_program_end(zk_program *program, char *how, size_t room);

// Whether the process itself has ended, though children may hold its pipes open.
bool zk_program_has_ended(const zk_program *program);
// Whether it is still there after `limit_ms`; returns sooner when it is not.
bool zk_program_stays(const zk_program *program, int limit_ms);

// Writes what fits of text[0..num_bytes); returns how many bytes, or -1 when nobody reads any more. Never raises SIGPIPE.
ssize_t zk_program_write(const zk_program *program, const char *text, size_t num_bytes);
// Takes in what there is of output, up to the bound; false: the output is closed.
bool zk_program_read(zk_program *program);
// Takes in what there is of standard error, and keeps the end.
void zk_program_listen(zk_program *program);
// The last line of standard error without control characters, "" when it said nothing; in `line`.
const char *zk_program_last_line(const zk_program *program, char line[ZK_PROGRAM_TALK_BYTES]);

#endif
