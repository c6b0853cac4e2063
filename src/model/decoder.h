/* One description of a decoder: what varies between architectures, as data. Read from GGUF metadata or config.json. */
#ifndef PV_MODEL_DECODER_H
#define PV_MODEL_DECODER_H

#include "format/source.h"
#include "runtime/op.h"

typedef enum pv_rope_scaling { PV_ROPE_SCALING_NONE, PV_ROPE_SCALING_LINEAR, PV_ROPE_SCALING_LLAMA3 } pv_rope_scaling;

typedef struct pv_rope_settings {
    pv_rope_pairing pairing;
    uint32_t dim; /* elements of a head that turn */
    double theta;
    pv_rope_scaling scaling;
    double factor, low_frequency, high_frequency, original_context; /* of the scaling (Llama 3.1 model card, config.json) */
} pv_rope_settings;

struct pv_architecture;

typedef struct pv_decoder {
    const struct pv_architecture *architecture;
    uint32_t layers, width, heads, kv_heads, head_dim, feed_forward, vocabulary, trained_context;
    float norm_epsilon;
    pv_activation activation; /* of the gate */
    float embed_scale, attention_scale;
    pv_rope_settings rope;
} pv_decoder;

#define PV_MAX_END_TOKENS 32

/* Reads and checks the description; every number is bounded before anything is computed from it. `ends` gets the ids that
 * config.json and generation_config.json name as ends of an answer.
 * Errors: PV_UNSUPPORTED (architecture, activation, rope scaling … by name), PV_BAD_FILE (a key missing or out of range), PV_NOT_FOUND
 * (no config.json), PV_OUT_OF_MEMORY. */
pv_status pv_decoder_read(const pv_allocator *allocator, pv_source *source, pv_decoder *decoder, int32_t ends[PV_MAX_END_TOKENS],
                          size_t *end_count, pv_error *error);

/* inverse_frequency[i] for i in 0 … rope.dim / 2, scaled; `factors` (dim / 2 divisors from the file) may be NULL. */
void pv_rope_frequencies(const pv_rope_settings *rope, const float *factors, float *inverse_frequency);

#endif
