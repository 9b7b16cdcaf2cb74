// Any bytes as a line of a data set: parsed or refused, then graded; never a crash, a leak or a read past the end.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "rollout/jsonl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t num_bytes) {
  if (num_bytes == 0) return 0;
  zk_config_grader grader = (zk_config_grader)(data[0] % ZK_CONFIG_NUM_GRADERS);
  static zk_pattern *pattern;
  if (pattern == NULL && zk_pattern_open("(a|b)*c|(.)\\2", &pattern) != ZK_OK) abort();
  char *line = malloc(num_bytes); // a block of its own size, so that the sanitizer sees its end
  if (line == NULL) return 0;
  memcpy(line, data + 1, num_bytes - 1);
  zk_task_item item;
  uint64_t identity;
  zk_reward reward;
  if (zk_jsonl_parse_line("fuzz.jsonl", 1, 1u << grader, "S", line, num_bytes - 1, &item, &identity) == ZK_OK) {
    zk_grader_grade(grader, pattern, item.label, line, num_bytes - 1, &reward); // the raw line stands for a completion
    if (item.label != NULL) zk_grader_grade(grader, pattern, item.label, item.label, strlen(item.label), &reward);
    if (reward.total != 1.0f && grader == ZK_CONFIG_GRADER_EXACT) abort(); // a label is its own right answer
    zk_task_item_free(&item);
  }
  free(line);
  return 0;
}
