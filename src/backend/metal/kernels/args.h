/* Arguments of the kernels: one struct each, the same bytes for C and MSL. Sizes and strides are in elements unless said otherwise.
 * `step` says where the arrays of the step block lie. */
#ifndef PV_METAL_ARGS_H
#define PV_METAL_ARGS_H

#ifndef __METAL_VERSION__
#include "backend/kernel_args.h"
#endif

#define PV_METAL_SIMD 32          /* threads of a simdgroup */
#define PV_METAL_EXPERT_ROWS 4    /* assignments of an expert that meet a weight row at once */

typedef struct pv_args_begin {
    pv_step_layout step;
    uint32_t table_cols[PV_MAX_GROUPS]; /* 0: there is none */
    uint32_t log_cols;
} pv_args_begin;

typedef struct pv_args_embed {
    pv_step_layout step;
    uint32_t rows, cols, row_bytes; /* of the table */
    uint32_t log_cols, out_stride;
    uint32_t by_position; /* the table is of positions, and its rows are added */
    float scale;
} pv_args_embed;

typedef struct pv_args_rope_angles {
    pv_step_layout step;
    uint32_t pairs, out_stride;
    float magnitude;
} pv_args_rope_angles;

/* norms, glu, activation, gather_rows, gather_cols: rows of f32 */
typedef struct pv_args_rows {
    pv_step_layout step;
    uint32_t extent; /* pv_extent of the rows */
    uint32_t cols;   /* rms_norm: of a stretch */
    uint32_t in_stride, in2_stride, out_stride; /* in2: up, or the residual */
    uint32_t has_more; /* a residual, or a bias */
    uint32_t activation;
    float epsilon, scale, soft_cap;
} pv_args_rows;

typedef struct pv_args_conv1d {
    pv_step_layout step;
    uint32_t cols, taps;
    uint32_t x_stride, before_stride, after_stride, out_stride;
    uint32_t table_cols, page_halves;
} pv_args_conv1d;

typedef struct pv_args_moe_route {
    pv_step_layout step;
    uint32_t experts, used, normalize;
    uint32_t scores_stride;
    float scale;
} pv_args_moe_route;

typedef struct pv_args_moe_linear {
    pv_step_layout step;
    uint32_t experts, used;
    uint32_t cols;                /* of x and of the weights */
    uint32_t rows;                /* of an expert in each weight */
    uint32_t row_bytes[2];
    uint32_t x_stride, shared_by; /* from x to x, and assignments of each */
    uint32_t has_bias;            /* a bit for each part */
    uint32_t glu;                 /* pv_activation; 0: one part */
    uint32_t routed;              /* else every row uses every expert */
} pv_args_moe_linear;

typedef struct pv_args_moe_sum {
    pv_step_layout step;
    uint32_t cols, used;
    uint32_t residual_stride, out_stride;
} pv_args_moe_sum;

typedef struct pv_args_rope {
    pv_step_layout step;
    uint32_t heads, kv_heads, head_dim, dim; /* dim: elements that turn; 0: none (kv_store alone) */
    uint32_t q_stride, k_stride, v_stride, angles_stride;
    uint32_t table_cols;
    uint32_t page_halves; /* f16 elements from page to page */
} pv_args_rope;

typedef struct pv_args_linear {
    pv_step_layout step;
    uint32_t extent;
    uint32_t cols;                /* of x and of the weights */
    uint32_t rows[3];             /* of each part's weight; 0: no such part */
    uint32_t row_bytes[3];
    uint32_t out_stride[3];
    uint32_t x_stride, residual_stride;
    uint32_t has_bias;            /* a bit for each part */
    uint32_t has_residual;
    float epsilon;
} pv_args_linear;

/* Where the cells of a cache are: runtime/kv.h. */
typedef struct pv_args_cache {
    uint32_t kv_heads, head_dim;
    uint32_t table_cols;
    uint32_t page_bytes;
    uint32_t row_bytes;           /* of a head of a token */
    uint32_t scales_at;           /* bytes into a page */
    uint32_t groups;              /* scales of a head of a token */
    uint32_t value_dim;           /* from here on of values */
    uint32_t values_at;           /* bytes into a page */
    uint32_t value_row_bytes, value_scales_at, value_groups;
} pv_args_cache;

typedef struct pv_args_kv_store {
    pv_step_layout step;
    pv_args_cache cache;
    uint32_t k_stride, v_stride;
} pv_args_kv_store;

typedef struct pv_args_attention {
    pv_step_layout step;
    pv_args_cache cache;
    uint32_t heads;
    uint32_t q_stride, out_stride;
    uint32_t spans;               /* of partial sums that there is room for, for each row and head */
    float scale;
    uint32_t window;              /* 0: all keys */
    float soft_cap;
    uint32_t has_sinks;
    uint32_t decode_only;         /* other rows are another kernel's */
    uint32_t has_latent;          /* queries that meet values */
    uint32_t latent_stride;
} pv_args_attention;

typedef struct pv_args_sample {
    pv_step_layout step;
    uint32_t vocabulary, logits_stride, log_cols;
} pv_args_sample;

#endif
