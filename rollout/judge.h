// What a program (command.run) is asked, and what its answers mean: a reward with components, or a reply after which the sample goes on.
//
// A request: {"id", "step", "prompt_id", "sample", "turn" (from 1), "last" (no reply is wanted), "prompt" (text or null), "messages", "label" (text or null),
// "completion" (the text of this turn), "finish" ("eos", "stop", "length"), "history" (turns before: {"role": "assistant" | "environment", "content"}), and
// "extra" of a jsonl line}. An answer: {"id", "reward": number, "components"?: {name: number}} or, unless "last", {"id", "reply": text}.
#ifndef ZK_ROLLOUT_JUDGE_H
#define ZK_ROLLOUT_JUDGE_H

#include "rollout/program_pool.h"
#include "rollout/task.h"
#include "shared/trajectory.h"

typedef struct zk_judge zk_judge;

typedef struct {
  uint64_t tag; // the caller's, below 2^63
  uint32_t step;
  int32_t sample, turn;
  bool last;
  const char *text; // of this turn, [num_bytes] any bytes
  size_t num_bytes;
  zk_finish_reason finish;
  json_t *history; // array of the turns before; NULL: none
} zk_judge_turn;

typedef struct {
  uint64_t tag;
  zk_answer_status status;
  char *reply; // the caller's to free; NULL: none
  float component[ZK_REWARD_MAX_COMPONENTS]; // recorded ones at their places (zk_task_put_recorded); zeros where there is no answer
  char why[1024];                            // there is no answer
} zk_verdict;

// Opens a pool as command.* says, and starts a first process: ZK_BAD_INPUT when the program cannot be started or ends at once. `task` is borrowed.
zk_status zk_judge_open(const zk_config *cfg, const zk_task *task, zk_judge **out);
void zk_judge_close(zk_judge *judge); // NULL is fine
zk_status zk_judge_ask(zk_judge *judge, const zk_task_item *item, const zk_judge_turn *turn);
int32_t zk_judge_num_open(const zk_judge *judge);
zk_status zk_judge_poll(zk_judge *judge, int wait_ms); // as zk_program_pool_poll
// The next answer; *found is false when there is none yet. ZK_OUT_OF_MEMORY for a reply without room: the answer is gone.
zk_status zk_judge_take(zk_judge *judge, zk_verdict *out, bool *found);
void zk_judge_cancel(zk_judge *judge);

#endif
