// The one key table behind parsing, overrides, defaults, --help-config, config.yaml and the identity text; private to
// the config files and their tests (everyone else includes shared/config.h).
#ifndef ZK_SHARED_CONFIG_KEYS_H
#define ZK_SHARED_CONFIG_KEYS_H

#include "shared/config.h"
#include "shared/config_reward.h"

typedef enum {
  ZK_CONFIG_BOOL,   // bool
  ZK_CONFIG_INT,    // int
  ZK_CONFIG_U64,    // uint64_t, below 2^63 so that every JSON library reads it back
  ZK_CONFIG_SIZE,   // uint64_t bytes, written with KiB, MiB, GiB or TiB where that is exact
  ZK_CONFIG_REAL,   // double, finite
  ZK_CONFIG_CHOICE, // an enum or int
  ZK_CONFIG_TEXT,   // char[capacity], UTF-8, NUL-terminated, zero behind the NUL
  ZK_CONFIG_LIST,   // zk_config_list
} zk_config_kind;

typedef enum {
  ZK_CONFIG_IDENTITY,    // bits may depend on it
  ZK_CONFIG_SCHEDULE,    // bits must not depend on it
  ZK_CONFIG_DECAY_LENGTH // run.steps: identity where the learning rate decays towards it, else schedule
} zk_config_class;

// A key without effect is refused unless it has its default: X(name, the key that decides, the condition under which it
// applies).
#define ZK_CONFIG_WHEN_LIST(X)                                                                                         \
  X(ALWAYS, "", true)                                                                                                  \
  X(INIT, "model.path", cfg->model.path[0] == 0)                                                                       \
  X(LORA, "lora.rank", cfg->lora.rank > 0)                                                                             \
  X(REVERSE, "task.name", cfg->task.name == ZK_CONFIG_TASK_REVERSE)                                                    \
  X(OPERANDS, "task.name", cfg->task.name == ZK_CONFIG_TASK_ARITHMETIC || cfg->task.name == ZK_CONFIG_TASK_MULTISTEP)  \
  X(MULTISTEP, "task.name", cfg->task.name == ZK_CONFIG_TASK_MULTISTEP)                                                \
  X(COUNTDOWN, "task.name", cfg->task.name == ZK_CONFIG_TASK_COUNTDOWN)                                                \
  X(REWARDS, "task.rewards", cfg->task.rewards.num > 0)                                                                \
  X(COMMAND, "command.run", cfg->command.run[0] != 0)                                                                   \
  X(REGEX, "task.grader", zk_config_uses_grader(cfg, ZK_CONFIG_GRADER_REGEX))                                          \
  X(JSONL, "task.name", cfg->task.name == ZK_CONFIG_TASK_JSONL)                                                        \
  X(CLIP, "algorithm.clip", cfg->algorithm.clip != ZK_CONFIG_CLIP_NONE)                                                \
  X(KL, "algorithm.kl.coef", cfg->algorithm.kl.coef > 0)                                                               \
  X(DYNAMIC, "algorithm.dynamic_sampling", cfg->algorithm.dynamic_sampling)                                            \
  X(OVERLONG, "algorithm.overlong.penalty", cfg->algorithm.overlong.penalty > 0)                                       \
  X(IMPORTANCE, "algorithm.importance.mode", cfg->algorithm.importance.mode != ZK_CONFIG_IMPORTANCE_NONE)              \
  X(OFF_POLICY, "rollout.numerics", cfg->rollout.numerics != ZK_CONFIG_SAMPLER_TRAINER)                               \
  X(WEIGHT_BITS, "rollout.weight_bits", cfg->rollout.weight_bits > 0)                                                  \
  X(CONSTANT, "algorithm.loss_aggregation", cfg->algorithm.loss_aggregation == ZK_CONFIG_LOSS_CONSTANT)

typedef enum {
#define X(name, governor, condition) ZK_CONFIG_WHEN_##name,
  ZK_CONFIG_WHEN_LIST(X)
#undef X
} zk_config_when;

typedef struct {
  const char *name; // as in the file
  int value;
} zk_config_choice;

typedef struct {
  const char *path;
  zk_config_kind kind;
  zk_config_class class;
  size_t offset;                   // of the member in zk_config
  size_t capacity;                 // TEXT: bytes of the array
  const char *fallback;            // the default; NULL: required. TEXT: as it is; LIST: ""; else as in the file
  int64_t min_int, max_int;        // INT, U64, SIZE: both included
  int64_t multiple_of;             // INT: 0 or 1: any
  bool power_of_two;               // INT
  double min_real, max_real;       // REAL
  const char *bounds;              // REAL: "[]", "(]", "[)" or "()": which ends are included
  const zk_config_choice *choices; // CHOICE: ends with a NULL name
  zk_config_when when;
  const char *help;
} zk_config_key;

enum { ZK_CONFIG_MAX_KEYS = 192, ZK_CONFIG_RANGE_BYTES = 256, ZK_CONFIG_MAX_PATH = 128 };
extern const zk_config_key zk_config_keys[];
extern const int zk_config_num_keys;

// The index of the key `path`, or -1.
int zk_config_key_find(const char *path);
// The index of the first key of the group `path`, or -1 when that is no group.
int zk_config_group_find(const char *path);
// False when the key has no effect under `cfg`.
bool zk_config_key_applies(const zk_config_key *key, const zk_config *cfg);
// The path of the key that decides whether this one applies, "" when it always does.
const char *zk_config_key_governor(const zk_config_key *key);
// Whether the key's value is part of the run's identity under `cfg`.
bool zk_config_key_is_identity(const zk_config_key *key, const zk_config *cfg);
// Its choices: "a, b, c".
const char *zk_config_key_choices(const zk_config_key *key, char out[ZK_CONFIG_RANGE_BYTES]);
// What values the key takes, for a person: "integer in [0, 16], a multiple of 16".
const char *zk_config_key_range(const zk_config_key *key, char out[ZK_CONFIG_RANGE_BYTES]);
// The key or group nearest to an unknown `path`, in `out`, or NULL when none is near.
const char *zk_config_key_suggest(const char *path, char out[ZK_CONFIG_MAX_PATH]);

// Parses text[num_bytes] as the key's value into *cfg. `plain` is false for a quoted scalar, which is text and never a
// number. A list gets one more item. Errors name the key and the value; the caller adds the place.
zk_status zk_config_value_set(const zk_config_key *key, const char *text, size_t num_bytes, bool plain, zk_config *cfg);
// Sets the key to its default (all zero when it has none).
void zk_config_value_reset(const zk_config_key *key, zk_config *cfg);
// Whether the key's value in *cfg is its default. A required key never has it.
bool zk_config_value_is_default(const zk_config_key *key, const zk_config *cfg);
// Writes the key's value on one line, so that YAML and zk_config_value_set read the same value back.
void zk_config_value_print(const zk_config_key *key, const zk_config *cfg, FILE *file);
// The same as a text to free; NULL when memory is short.
char *zk_config_value_text(const zk_config_key *key, const zk_config *cfg);
// text[num_bytes] in double quotes, shortened and without control characters, for one line of an error message.
enum { ZK_CONFIG_QUOTE_BYTES = 96 };
const char *zk_config_quote(const char *text, size_t num_bytes, char out[ZK_CONFIG_QUOTE_BYTES]);

// True for the plain scalars that YAML reads as no value: nothing, ~, null.
bool zk_config_is_nothing(const char *text, size_t num_bytes);
// The bytes of the number that text begins with: -? (0 | [1-9][0-9]*), and for reals a fraction and an exponent; 0:
// none.
size_t zk_config_scan_number(const char *text, bool real);
// The double nearest to a scanned number (infinite when too large).
double zk_config_read_real(const char *text);
// The shortest decimal that reads back as the same double, with a point before an exponent as YAML 1.1 readers want it.
void zk_config_print_real(double value, FILE *file);
// The binary logarithm of a unit of bytes ("KiB": 10), or -1.
int zk_config_size_shift(const char *suffix);
void zk_config_print_size(uint64_t bytes, FILE *file);

// Where a key's value came from.
typedef struct {
  int line, column; // in the file, from 1; 0: not from the file
  int override_num; // the override's place on the command line, from 1; 0: not from an override
} zk_config_origin;

enum { ZK_CONFIG_MAX_GROUPS = 32 };

// A config being read.
typedef struct {
  const char *name; // of the file; NULL without one
  char *const *overrides;
  int override_num; // the override being read, from 1; 0: the file
  zk_config cfg;
  zk_config_origin origin[ZK_CONFIG_MAX_KEYS]; // all zero: the default
  struct {
    const char *path; // of a key in the group, whose first path_len bytes are the group's path
    size_t path_len;
    zk_config_origin origin;
  } group[ZK_CONFIG_MAX_GROUPS]; // the groups that the file gives, the root first
  int num_groups;
} zk_config_reader;

// Puts the place that `origin` names before the last error's message; without one the file's name.
zk_status zk_config_reader_place(const zk_config_reader *reader, zk_config_origin origin, zk_status status);
// After the file and the overrides: required keys, keys without effect, derived values, keys against each other.
zk_status zk_config_reader_finish(zk_config_reader *reader);

#endif
