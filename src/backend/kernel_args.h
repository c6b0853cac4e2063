/* The step block and its neighbours: what varies from step to step. One definition for C, Metal and CUDA, so only fixed-width
 * types, no pointers, and sizes that are multiples of 4.
 *
 * A plan is idempotent given its block: running it twice gives the same memory. Lasting state (cache pages, token log, block
 * tables) is addressed by position, or goes from state_in to state_out, never in place. */
#ifndef PV_BACKEND_KERNEL_ARGS_H
#define PV_BACKEND_KERNEL_ARGS_H

#if !defined(__METAL_VERSION__) && !defined(__CUDACC_RTC__)
#include <stdint.h>
#endif

#define PV_PAGE_TOKENS 32     /* tokens in a page of the KV cache */
#define PV_SPLIT_TOKENS 256   /* attention sums over spans of this many keys, then merges the spans in order */
#define PV_TILE_ROWS 32       /* query rows in a tile, all of one sequence */
#define PV_TOKEN_FROM_LOG (-1) /* a row whose token stands in token_log[slot][position] */
#define PV_MAX_GROUPS 4       /* cache groups of a model */
#define PV_MAX_BIASES 1024    /* bias entries of a sequence */
#define PV_ACTIVATION_STEPS 32512 /* 255 × 127 + 127: two signed bytes, high × 255 + low, neither of them −128 */
#define PV_TOP_LOGPROBS 20
#define PV_NULL_SLOT 0        /* padding rows use slot 0 and page 0, which no sequence owns */
#define PV_NULL_PAGE 0

/* Counts of a step; kernels leave beyond them. */
typedef struct pv_step_counts {
    uint32_t rows;        /* decode rows first, then the prefill rows */
    uint32_t decode_rows; /* rows of sequences that have one row only */
    uint32_t seqs;
    uint32_t tiles;
    uint32_t logits;      /* rows that want logits */
    uint32_t patches;
    uint32_t biases;
    uint32_t reserved;
} pv_step_counts;

typedef struct pv_step_row {
    int32_t token;    /* or PV_TOKEN_FROM_LOG */
    int32_t position; /* in its sequence, from 0 */
    int32_t slot;
    int32_t seq;      /* index into seqs */
} pv_step_row;

typedef struct pv_step_seq {
    int32_t slot;
    int32_t first_row, rows;
    int32_t kv_length; /* keys that the last of its rows sees, itself included */
    int32_t state_in, state_out; /* slots of recurrent state; unused by attention */
} pv_step_seq;

/* Query rows [first_row, first_row + rows) of one sequence. Every row is in exactly one tile, in order. */
typedef struct pv_step_tile {
    int32_t seq;
    int32_t first_row, rows;
    int32_t reserved;
} pv_step_tile;

#define PV_PATCH_TOKEN_LOG (-1)

/* block_table[group][slot][index] = page; with group PV_PATCH_TOKEN_LOG: token_log[slot][index] = page, which puts tokens into the log
 * whose rows are not computed here because their pages were found in the cache. */
typedef struct pv_step_patch {
    int32_t group, slot, index, page;
} pv_step_patch;

/* A row that wants logits, and how its next token is sampled. */
typedef struct pv_step_logit {
    int32_t row;
    int32_t slot;
    int32_t position; /* of the row; the sampled token gets position + 1 in the token log */
    int32_t prompt_length; /* frequency and presence penalties count tokens from here on */
    float temperature;  /* 0: greedy */
    uint32_t top_k;     /* 0: off */
    float top_p;        /* 1: off */
    float min_p;        /* 0: off */
    float repetition;   /* 1: off */
    float frequency, presence; /* 0: off */
    uint32_t penalty_last;
    uint32_t seed[2];   /* low, high */
    uint32_t bias_first, bias_count;
    uint32_t top_count; /* alternatives to report */
    uint32_t sample;    /* 0: logits only, the token log stays as it is */
} pv_step_logit;

typedef struct pv_step_bias {
    int32_t token;
    float bias;
} pv_step_bias;

typedef struct pv_step_top {
    int32_t token;
    float logprob;
} pv_step_top;

#define PV_OUTPUT_OK 1u         /* anything else was not written by the step that is read */
#define PV_OUTPUT_NON_FINITE 2u /* the row's logits hold NaN, or no finite value */

typedef struct pv_step_output {
    int32_t token;
    float logprob;    /* of token, natural logarithm, from the logits before penalties, bias and temperature */
    uint32_t status;
    uint32_t top_count;
    pv_step_top top[PV_TOP_LOGPROBS]; /* descending; ties by lower id */
} pv_step_output;

/* Capacities of a block, fixed for a model. */
typedef struct pv_step_limits {
    uint32_t rows, seqs, logits, patches, biases;
    uint32_t slots;           /* of the token log and block tables, the null slot included */
    uint32_t context;         /* tokens of a slot in the token log; a multiple of PV_PAGE_TOKENS */
} pv_step_limits;

/* Byte offsets of the arrays in a block. counts stand at 0. */
typedef struct pv_step_layout {
    uint32_t rows, seqs, tiles, logits, patches, biases, bytes;
} pv_step_layout;

#endif
