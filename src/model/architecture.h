/* Architectures as data: a row names the architecture in each format, the tensors it has, and what its description fixes. */
#ifndef PV_MODEL_ARCHITECTURE_H
#define PV_MODEL_ARCHITECTURE_H

#include "model/decoder.h"

/* Weights by role; absent optional ones are zeroed. */
typedef struct pv_layer_weights {
    pv_tensor attention_norm, q, k, v, attention_out, feed_forward_norm, gate, up, down;
    pv_tensor q_bias, k_bias, v_bias, attention_out_bias, gate_bias, up_bias, down_bias;
} pv_layer_weights;

typedef struct pv_weights {
    pv_tensor embed, output_norm, output;
    pv_tensor inverse_frequency; /* computed, f32 [1, rope.dim / 2] */
    pv_layer_weights *layers;
} pv_weights;

/* A size that a weight's shape is made of. */
typedef enum pv_size { PV_SIZE_ONE, PV_SIZE_WIDTH, PV_SIZE_HEADS, PV_SIZE_KV_HEADS, PV_SIZE_FEED_FORWARD, PV_SIZE_VOCABULARY } pv_size;

uint32_t pv_decoder_size(const pv_decoder *decoder, pv_size size);

typedef struct pv_role {
    const char *gguf, *huggingface; /* names; "%u" is the layer's number */
    bool per_layer, optional;
    size_t member;                  /* offset in pv_layer_weights or pv_weights */
    pv_size rows, cols;
    unsigned uses;                  /* pv_weight_use */
} pv_role;

typedef struct pv_architecture {
    const char *name;        /* general.architecture in GGUF */
    const char *class_name;  /* "architectures" in config.json */
    const pv_role *roles;
    size_t role_count;
    pv_rope_pairing gguf_pairing; /* how the converters to GGUF leave q and k */
} pv_architecture;

/* A role's name with the layer's number in its place. */
void pv_role_name(const char *pattern, uint32_t layer, char out[128]);

/* NULL if it is not known. */
const pv_architecture *pv_architecture_find(const char *gguf_name, const char *class_name);
/* "llama, …" */
const char *pv_architecture_names(void);

#endif
