/* Tiny models of tests/golden/llama and tests/golden/models: written from their seed in any format and layout, run through the public
 * interface, and held against the logits that transformers gave. */
#ifndef PV_TESTS_GOLDEN_SUPPORT_LLAMA_H
#define PV_TESTS_GOLDEN_SUPPORT_LLAMA_H

#include "model/flat.h"

#define GOLDEN_PATH 512

typedef struct golden_case {
    char folder[GOLDEN_PATH];
    char *about_text, *config_text;
    pv_flat about, config; /* case.json, config.json */
    int32_t *tokens;
    size_t token_count;
    uint32_t vocabulary;
    uint32_t layers, width, heads, kv_heads, head_dim, feed_forward; /* of llama; 0 where config.json has no such name */
    bool tied, bias;
} golden_case;

/* `family`: "llama" or "models", the folder of the case. */
void golden_open(golden_case *c, const char *family, const char *name);
void golden_close(golden_case *c);
/* Layout i that the case has logits for, or NULL. */
const char *golden_layout(const golden_case *c, size_t i);

/* Things done wrong on purpose, to see that the comparison notices. */
typedef enum golden_mistake {
    GOLDEN_NO_MISTAKE,
    GOLDEN_UNPERMUTED,   /* GGUF: q and k rows stay as Hugging Face has them: another rope pairing */
    GOLDEN_THETA,        /* rope_theta larger by 2 % */
    GOLDEN_EPSILON,      /* the norm's epsilon doubled */
    GOLDEN_ONE_BLOCK,    /* the first block of one matrix has another scale, by a sixteenth */
    GOLDEN_PLAIN_ROPE,   /* GGUF: no rope_freqs.weight */
} golden_mistake;

typedef struct golden_file {
    bool gguf;
    const char *layout;
    uint32_t shards;         /* SafeTensors: 1 or 2 */
    const char *config_name; /* SafeTensors: "config.json" or "legacy.json", copied as config.json */
    golden_mistake mistake;
    bool inside;             /* listed SafeTensors: as a part of a larger model: names and settings one level down, and a tensor of another part */
    const char *from, *to;   /* listed SafeTensors: what stands in config.json, and what shall stand there instead; GGUF: a key, and its number */
} golden_file;

/* Writes the model into the empty folder and gives the path to load. */
void golden_write(const golden_case *c, const golden_file *file, const char *folder, char path[GOLDEN_PATH]);
/* The same for a case whose case.json lists its tensors. */
void golden_write_listed(const golden_case *c, const golden_file *file, const char *folder, char path[GOLDEN_PATH]);

typedef struct golden_run {
    const char *kernels;    /* NULL: the best */
    uint32_t threads, max_step_rows;
    size_t prompt;          /* tokens given as the prompt; the others are forced one at a time */
    pv_load load;
} golden_run;

/* Logits of every position, [tokens][vocabulary]; to be freed. */
float *golden_logits(const golden_case *c, const char *path, const golden_run *run);

typedef struct golden_deviation {
    double rms, max; /* NaN anywhere makes both NaN */
} golden_deviation;

/* How far `logits` are from the reference, in units of what is allowed: passes if neither is above 1 (NaN is not). */
golden_deviation golden_compare(const golden_case *c, const char *layout, const float *logits);
bool golden_passes(golden_deviation deviation);

/* A new empty folder, and its removal with the files in it. */
void golden_make_folder(char folder[GOLDEN_PATH]);
void golden_remove_folder(const char *folder);

#endif
