/* One description of a decoder: what varies between architectures, as data. Read from GGUF metadata or config.json. */
#ifndef PV_MODEL_DECODER_H
#define PV_MODEL_DECODER_H

#include "format/source.h"
#include "runtime/op.h"

#define PV_MAX_LAYERS 1024
#define PV_MAX_LAYER_KINDS 8
#define PV_MAX_ROPES 2
#define PV_MAX_ROPE_PAIRS 512

typedef enum pv_norm { PV_NORM_RMS, PV_NORM_LAYER } pv_norm;

typedef enum pv_rope_scaling {
    PV_ROPE_SCALING_NONE,
    PV_ROPE_SCALING_LINEAR,
    PV_ROPE_SCALING_LLAMA3,
    PV_ROPE_SCALING_LONG, /* a divisor for each frequency, one set up to the original context and one beyond */
    PV_ROPE_SCALING_YARN,
} pv_rope_scaling;

typedef struct pv_rope_settings {
    pv_rope_pairing pairing;
    uint32_t dim; /* elements of a head that turn */
    double theta;
    pv_rope_scaling scaling;
    double factor, low_frequency, high_frequency, original_context; /* of the scaling (Llama 3.1 model card, config.json) */
    double beta_fast, beta_slow; /* of YaRN */
    double score_scale;          /* YaRN: what its mscale_all_dim makes of the scores, in models that have it so; else 1 */
    bool truncates;              /* YaRN: its range ends at whole pairs */
    float magnitude;             /* sine and cosine are multiplied by it */
    uint32_t divisor_sets;       /* how many of the sets below are there */
    float divisors[2][PV_MAX_ROPE_PAIRS]; /* of the frequencies; the second set for contexts beyond the original one */
} pv_rope_settings;

/* What sets layers apart. */
typedef struct pv_layer_kind {
    int rope;       /* which of the decoder's ropes; -1: positions do not turn anything */
    bool conv;      /* a short convolution stands in place of attention */
    bool experts;   /* these stand in place of one feed-forward block */
    uint32_t group; /* cache group */
} pv_layer_kind;

struct pv_architecture;

typedef struct pv_decoder {
    const struct pv_architecture *architecture;
    uint32_t layers, width, heads, kv_heads, head_dim, feed_forward, vocabulary, trained_context;
    uint32_t context; /* that sequences may have: whoever reads the description sets it */
    uint32_t experts, experts_used, expert_feed_forward; /* 0 experts: none */
    uint32_t shared_feed_forward; /* of the expert that every token has, beside the chosen ones; 0: there is none */
    bool expert_normalize; /* the weights of the chosen experts add up to 1 */
    float expert_scale;    /* they are multiplied by it */
    /* Latent attention (DeepSeek-V2): a token's keys and values are projections of a latent vector, of `latent` elements, which the cache
     * holds beside one key of head_dim elements that turn. Of each head `plain_dim` elements do not turn, and a value has value_dim. */
    uint32_t latent, query_latent, plain_dim, value_dim; /* 0 latent: keys and values are kept as they are; 0 query_latent: so are queries */
    pv_norm norm;
    float norm_epsilon;
    pv_activation activation; /* of the gate, or of the only factor */
    float embed_scale, residual_scale, logit_scale;
    float attention_scale, attention_soft_cap, logit_soft_cap; /* a cap of 0: none */
    pv_rope_settings ropes[PV_MAX_ROPES];
    uint32_t rope_count;
    pv_layer_kind kinds[PV_MAX_LAYER_KINDS];
    uint32_t kind_count;
    uint8_t kind_of[PV_MAX_LAYERS];       /* layer → kinds */
    uint32_t conv_taps;                   /* of short convolutions; 0: there are none */
    uint32_t group_window[PV_MAX_GROUPS]; /* keys that layers of a cache group look back at, 0: all of them */
    bool group_conv[PV_MAX_GROUPS];       /* what a cache group keeps are inputs of convolutions: a vector of the width for each token */
    uint32_t group_count;
} pv_decoder;

#define PV_MAX_END_TOKENS 32

/* Reads and checks the description; every number is bounded before anything is computed from it. `ends` gets the ids that
 * config.json and generation_config.json name as ends of an answer.
 * Errors: PV_UNSUPPORTED (architecture, activation, rope scaling … by name), PV_BAD_FILE (a key missing or out of range), PV_NOT_FOUND
 * (no config.json), PV_OUT_OF_MEMORY. */
pv_status pv_decoder_read(const pv_allocator *allocator, pv_source *source, pv_decoder *decoder, int32_t ends[PV_MAX_END_TOKENS],
                          size_t *end_count, pv_error *error);

static inline const pv_layer_kind *pv_decoder_kind(const pv_decoder *decoder, uint32_t layer) { return &decoder->kinds[decoder->kind_of[layer]]; }

/* inverse_frequency[i] for i in 0 … rope.dim / 2, scaled for sequences of up to `context` tokens. */
void pv_rope_frequencies(const pv_rope_settings *rope, uint32_t context, float *inverse_frequency);

#endif
