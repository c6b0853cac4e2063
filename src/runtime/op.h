/* The ops: each one's contract stands here, once, for every backend.
 *
 * R is the number of rows that the step really has for a tensor of that extent; rows beyond are neither read nor written.
 * Unless said otherwise activations are f32 [R, cols], accumulation is f32, and a row's result depends on nothing but that row (for
 * attention: its sequence), bit for bit, whatever else is in the step and however many threads run it. On a GPU this holds within a
 * shape class: other classes may use other kernels, whose sums run in another order.
 *
 * Fusions are fields of an op. A backend may decline an op with such a field set (supports); lowering then replaces it by its plain
 * forms, which every backend owes:
 *   linear with norm   → rms_norm, linear            linear with glu    → linear, glu
 *   linear with parts  → one linear for each part    rope with a store  → rope, kv_store
 */
#ifndef PV_RUNTIME_OP_H
#define PV_RUNTIME_OP_H

#include "backend/kernel_args.h"
#include "runtime/kv.h"
#include "runtime/tensor.h"

#define PV_OP_LIST(X)                                                                                               \
    X(begin) X(embed) X(rope_angles) X(rms_norm) X(layer_norm) X(linear) X(rope) X(kv_store) X(attention) X(conv1d) X(glu) \
    X(activation) X(moe_route) X(moe_linear) X(moe_sum) X(gather_rows) X(gather_cols) X(sample)

typedef enum pv_op_kind {
#define PV_OP_ENUM(name) PV_OP_##name,
    PV_OP_LIST(PV_OP_ENUM)
#undef PV_OP_ENUM
    PV_OP_COUNT
} pv_op_kind;

/* One layer's part of a cache group. Storage of a layer: [page]{K [kv_head][PV_PAGE_TOKENS][head_dim], V [kv_head][PV_PAGE_TOKENS]
 * [value_dim]} elements (runtime/kv.h). */
typedef struct pv_kv_view {
    pv_tensor pages; /* 1 row: all bytes of the layer (row_bytes); page p begins p × page_bytes later; layout: F16 whatever the type */
    pv_tensor table; /* block table, int32 [slots][context / PV_PAGE_TOKENS]; rows = slots, cols = blocks */
    uint32_t kv_heads, head_dim;
    uint64_t page_bytes;
    pv_kv_type type; /* of elements */
    uint32_t value_dim; /* elements of a value's head; 0: as many as a key's */
} pv_kv_view;

static inline uint32_t pv_kv_value_dim(const pv_kv_view *view) { return view->value_dim > 0 ? view->value_dim : view->head_dim; }

/* Applies the block's patches to the block tables and the token log, then writes every literal token (row token ≥ 0) to
 * token_log[slot][position]. The first op of every forward plan. */
typedef struct pv_op_begin {
    pv_tensor tables[PV_MAX_GROUPS]; /* by group; absent ones are not patched */
    pv_tensor token_log;             /* int32 [slots][context] (layout F32 stands for 4-byte cells) */
} pv_op_begin;

/* out[r] = scale × table[token of row r] (+ positions[position of row r]); a row with PV_TOKEN_FROM_LOG takes
 * token_log[slot][position]. A token or a position outside its table gives a row of NaN. */
typedef struct pv_op_embed {
    pv_tensor table, token_log, out;
    float scale;
    pv_tensor positions; /* learned ones, in a layout of their own; or absent */
} pv_op_embed;

/* out[r] = {cos a₀, sin a₀, cos a₁, sin a₁, …}, aᵢ = (float)position × inverse_frequency[i], both times `magnitude`.
 * The angle is one f32 product; sine and cosine of it are right to 2 ulp or 1e-7 absolute. inverse_frequency: f32 [1, dim / 2]. */
typedef struct pv_op_rope_angles {
    pv_tensor inverse_frequency, out;
    float magnitude;
} pv_op_rope_angles;

/* out[r] = x[r] / sqrt(mean(x[r]²) + epsilon) × weight (+ residual[r]). weight: f32 [1, cols], or as wide as a head: every stretch of
 * weight.cols elements of a row is then normed by itself with the same weight. out may be x or residual. */
typedef struct pv_op_rms_norm {
    pv_tensor x, weight, out;
    float epsilon;
    pv_tensor residual; /* or absent */
} pv_op_rms_norm;

/* out[r] = (x[r] − mean) / sqrt(mean((x[r] − mean)²) + epsilon) × weight (+ bias), mean being that of the row. weight, bias: f32
 * [1, cols]. out may be x. */
typedef struct pv_op_layer_norm {
    pv_tensor x, weight, out;
    pv_tensor bias; /* or absent */
    float epsilon;
} pv_op_layer_norm;

typedef struct pv_linear_part {
    pv_tensor weight; /* any layout and packing, [out cols, in cols] */
    pv_tensor bias;   /* f32 [1, out cols], or absent */
    pv_tensor out;    /* [R, weight rows] */
} pv_linear_part;

typedef enum pv_activation {
    PV_ACTIVATION_NONE,
    PV_ACTIVATION_SILU, /* x / (1 + e^−x) */
    PV_ACTIVATION_GELU, /* in the tanh form: x / 2 × (1 + tanh(√(2 / π) (x + 0.044715 x³))) */
    PV_ACTIVATION_CLAMPED, /* of a glu only, g being at most 7 and u within ± 7: (u + 1) × g / (1 + e^(−1.702 g)) */
    PV_ACTIVATION_SIGMOID, /* 1 / (1 + e^−x) */
} pv_activation;

/* For each part: out = x' · weightᵀ (+ bias) (+ residual), x' = rms_norm(x, norm) if norm is present, else x.
 * With `glu` there are two parts, gate and up, of equal shape, and only parts[0].out is written: glu(gate) × up.
 * With `residual` one part is written, the result of a glu too; residual may be the same tensor as out, which then accumulates.
 * Weights meet x' in f32; on the CPU a quantized weight meets x' quantized to 16 bits in groups of 32: scale = max|x'| /
 * PV_ACTIVATION_STEPS, rounded to nearest. (With 8 bits the logits of a 135M model are off by 0.25 RMS, and greedy text parts from the exact one
 * where the best two logits differ by 0.7; with 16 bits the error is that of an f16 cache.) */
typedef struct pv_op_linear {
    pv_tensor x;
    pv_tensor norm; /* f32 [1, in cols], or absent */
    float epsilon;
    uint32_t part_count; /* 1 to 3 */
    pv_linear_part parts[3];
    pv_activation glu; /* PV_ACTIVATION_NONE: no glu */
    pv_tensor residual;
} pv_op_linear;

#define PV_MAX_EXPERTS_USED 64 /* by one row */

typedef enum pv_rope_pairing {
    PV_ROPE_HALVES,      /* element i turns with i + dim / 2 (Hugging Face) */
    PV_ROPE_NEIGHBOURS,  /* element 2i turns with 2i + 1 (GGUF llama) */
} pv_rope_pairing;

/* Turns the first `dim` elements of every head of q [R, heads × head_dim] and k [R, kv_heads × head_dim] in place by the angles of
 * its row ([R, dim], from rope_angles). With `store.pages` present also does kv_store of the turned k and of v. */
typedef struct pv_op_rope {
    pv_tensor q, k, angles;
    uint32_t head_dim, dim;
    pv_rope_pairing pairing;
    pv_tensor v;
    pv_kv_view store;
} pv_op_rope;

/* Writes k and v of each row, as the cache's type has them, to its position's place in the cache: page table[slot][position / 32], token position % 32. */
typedef struct pv_op_kv_store {
    pv_tensor k, v;
    pv_kv_view store;
} pv_op_kv_store;

/* out[r, h] = softmax(scale × q[r, h] · K) · V over keys 0 … position of row r of its sequence, head h using kv head
 * h / (heads / kv_heads). Sums run over spans of PV_SPLIT_TOKENS keys, the spans merge in order, so that a row gets the same bits
 * alone, in a batch, and in any chunk of a prompt. Keys beyond a row's position have no influence, not even NaN.
 * window: the row sees its last `window` keys only, its own included; pages before the window's first key are not touched, whatever
 * the block table says of them. soft_cap: a score s becomes soft_cap × tanh(s / soft_cap). sinks: one score more for each head,
 * which takes its share of the softmax and has no value. q_latent: values are keys as well, the part of them that does not turn, and
 * a score is scale × (q[r, h] · K + q_latent[r, h] · V). ("DeepSeek-V2", section 2.1.2: the cache holds the latent vector, from which every
 * head's keys and values would be projected; q_latent has been projected instead.) */
typedef struct pv_op_attention {
    pv_tensor q, out; /* [R, heads × head_dim], [R, heads × the cache's value_dim] */
    pv_kv_view cache;
    uint32_t heads;
    float scale;
    uint32_t window;  /* 0: all keys */
    float soft_cap;   /* 0: none */
    pv_tensor sinks;  /* f32 [1, heads], or absent */
    pv_tensor q_latent; /* [R, heads × the cache's value_dim], or absent */
} pv_op_attention;

/* A short convolution along a sequence, column by column: u = before × x, rounded to f16; out[r] = after × Σ weight[c][j] × u at position
 * p − taps + 1 + j, j in 0 … taps − 1, p being the row's position; before position 0 u is 0. u of every row goes into the cache, [page][token]
 * [cols] in f16, where later steps find it: pages before the first position that is needed are not touched. The sum runs by rising j. */
typedef struct pv_op_conv1d {
    pv_tensor x, before, after, out; /* [R, cols] */
    pv_tensor weight;                /* f32 [1, cols × taps] */
    uint32_t taps;
    pv_kv_view store;                /* kv_heads × head_dim × 2 = cols */
} pv_op_conv1d;

/* out = activation(gate) × up. out may be gate. */
typedef struct pv_op_glu {
    pv_tensor gate, up, out;
    pv_activation activation;
} pv_op_glu;

/* out[r] = f(scale × x[r]) (+ residual[r]): f is the activation, then, if soft_cap is not 0, y becomes soft_cap × tanh(y / soft_cap).
 * out may be x or residual. */
typedef struct pv_op_activation {
    pv_tensor x, out;
    pv_tensor residual; /* or absent */
    pv_activation activation;
    float scale, soft_cap;
} pv_op_activation;

/* Chooses experts: of the softmax of scores[r] over all experts the `used` largest, the likeliest first (ties: the lower number).
 * weights[r] are their probabilities, with `normalize` divided by their sum, times `scale`. Assignment a = r × used + i is row r's i-th choice, and
 * experts[a] its expert. order holds the step's assignments by expert, then by number: those of expert e stand at offsets[e] …
 * offsets[e + 1] − 1. A score that is NaN counts as the lowest, and makes the weights NaN. */
typedef struct pv_op_moe_route {
    pv_tensor scores;         /* [R, experts] */
    pv_tensor weights;        /* [R, used] */
    pv_tensor experts, order; /* int32 [R, used]: one list over all rows */
    pv_tensor offsets;        /* int32, the first experts + 1 cells of row 0 */
    uint32_t used;
    bool normalize;
    float scale;              /* 0: 1 */
} pv_op_moe_route;

/* linear by experts: for every assignment a of the step, out[a] = weight of its expert · x (+ bias of its expert), with `glu` as there.
 * x is that of the assignment's row, or, with `each`, of the assignment. An expert's rows of a weight are a multiple of 16. Without order and
 * offsets every row uses every expert, its i-th choice being expert i: a linear for each head. */
typedef struct pv_op_moe_linear {
    pv_tensor x;               /* [R, in cols]; each: [R, used × in cols] */
    pv_tensor order, offsets;  /* of moe_route; or absent, used being experts */
    uint32_t experts, used, part_count;
    pv_linear_part parts[2];   /* weight [experts × out cols, in cols], bias f32 [1, experts × out cols], out [R, used × out cols] */
    pv_activation glu;
    bool each;
} pv_op_moe_linear;

/* out[r] = residual[r] + Σ weights[r][i] × x[r][i], added in the order of i. out may be residual. */
typedef struct pv_op_moe_sum {
    pv_tensor x;       /* [R, used × cols] */
    pv_tensor weights; /* [R, used] */
    pv_tensor residual, out;
} pv_op_moe_sum;

/* out[i] = x[logits[i].row]; out has extent LOGITS. */
typedef struct pv_op_gather_rows {
    pv_tensor x, out;
} pv_op_gather_rows;

/* out[r][i] = x[r][order[i]]. order: u32 [1, cols], below the columns of x (layout F32 stands for 4-byte cells). out is not x. */
typedef struct pv_op_gather_cols {
    pv_tensor x, order, out;
} pv_op_gather_cols;

/* For every row i that wants logits: takes logits[i], applies repetition, frequency and presence penalties over token_log (positions
 * 0 … position), then bias, temperature, top-k, top-p, min-p, draws with Philox4x32-10 (key = seed, counter = {position + 1, 0, 0, 0};
 * the first word, as (word >> 8) × 2⁻²⁴) against the cumulative sum of the survivors' probabilities, most likely first, ties by lower
 * id; writes outputs[i] and, if `sample`, token_log[slot][position + 1]. Temperature 0 takes the largest (ties: the lowest id).
 * NaN in the row, or no finite logit, gives status PV_OUTPUT_NON_FINITE, token −1, and nothing in the log. `logits` is not changed. */
typedef struct pv_op_sample {
    pv_tensor logits, token_log;
} pv_op_sample;

typedef struct pv_op {
    pv_op_kind kind;
    bool barrier; /* the builder's: ops before it must have finished */
    char label[24]; /* "layer 3 qkv", for errors and profiles */
    union {
#define PV_OP_MEMBER(name) pv_op_##name name;
        PV_OP_LIST(PV_OP_MEMBER)
#undef PV_OP_MEMBER
    };
} pv_op;

const char *pv_op_name(pv_op_kind kind);

typedef enum pv_access { PV_READ = 1, PV_WRITE = 2, PV_UPDATE = 3 } pv_access;
typedef struct pv_operand {
    pv_tensor *tensor;
    pv_access access;
} pv_operand;
#define PV_MAX_OPERANDS 16
/* Every present tensor that the op reads or writes; what the builder derives order and lifetimes from. */
size_t pv_op_operands(pv_op *op, pv_operand operands[PV_MAX_OPERANDS]);

/* Work of an op on `rows` rows whose keys number `kv_length`. */
typedef struct pv_cost {
    double bytes, operations;
} pv_cost;
pv_cost pv_op_cost(const pv_op *op, uint32_t rows, uint32_t kv_length);

#endif
