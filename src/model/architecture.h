/* Architectures as data: a row names the architecture in each format, the tensors it has, and what its description fixes. */
#ifndef PV_MODEL_ARCHITECTURE_H
#define PV_MODEL_ARCHITECTURE_H

#include "model/decoder.h"

/* Weights by role; absent optional ones are zeroed. What is absent is not done: no norm, no gate. */
typedef struct pv_layer_weights {
    pv_tensor attention_norm, q, k, v, q_norm, k_norm, attention_out, attention_post_norm;
    pv_tensor feed_forward_norm, gate, up, down, feed_forward_post_norm;
    pv_tensor conv_before, conv_after, conv_x, conv, conv_out;
    pv_tensor q_turning, query_latent, query_latent_norm, latent, latent_norm, k_turning, k_latent, v_latent;
    pv_tensor shared_gate, shared_up, shared_down, shared_router;
    pv_tensor router, router_bias, expert_gate, expert_up, expert_down;
    pv_tensor expert_gate_bias, expert_up_bias, expert_down_bias, sinks;
    pv_tensor attention_norm_bias, feed_forward_norm_bias;
    pv_tensor q_bias, k_bias, v_bias, attention_out_bias, gate_bias, up_bias, down_bias;
    pv_tensor q_order, k_order, v_order, attention_out_order, gate_order, up_order, down_order; /* of columns: absent where they come as they are */
} pv_layer_weights;

typedef struct pv_weights {
    pv_tensor embed, positions, output_norm, output_norm_bias, output;
    pv_tensor inverse_frequency[PV_MAX_ROPES]; /* computed, f32 [1, rope.dim / 2] */
    pv_layer_weights *layers;
} pv_weights;

/* A size that a weight's shape is made of. */
typedef enum pv_size {
    PV_SIZE_ZERO,
    PV_SIZE_ONE,
    PV_SIZE_WIDTH,
    PV_SIZE_HEAD,      /* elements of a head */
    PV_SIZE_HEADS,     /* of all heads */
    PV_SIZE_KV_HEADS,
    PV_SIZE_HEADS_KV,  /* HEADS + KV_HEADS */
    PV_SIZE_QKV,       /* HEADS + 2 KV_HEADS */
    PV_SIZE_FEED_FORWARD,
    PV_SIZE_GATE_UP,   /* 2 FEED_FORWARD */
    PV_SIZE_EXPERTS,
    PV_SIZE_EXPERT_FEED_FORWARD,
    PV_SIZE_ATTENTION_HEADS, /* how many there are */
    PV_SIZE_VOCABULARY,
    PV_SIZE_CONTEXT,   /* of the training */
    PV_SIZE_TAPS,      /* of a convolution */
    PV_SIZE_WIDTH_2,   /* 2 WIDTH */
    PV_SIZE_WIDTH_3,
    PV_SIZE_SHARED_FEED_FORWARD,
    PV_SIZE_LATENT,
    PV_SIZE_QUERY_LATENT,
    PV_SIZE_LATENT_KEY,  /* LATENT + HEAD */
    PV_SIZE_PLAIN,       /* of latent attention: elements of a head that do not turn */
    PV_SIZE_PLAIN_HEAD,  /* PLAIN + HEAD */
    PV_SIZE_VALUE,       /* elements of a value's head */
    PV_SIZE_PLAIN_VALUE, /* PLAIN + VALUE */
    PV_SIZE_VALUES,      /* of all heads */
    PV_SIZE_LATENTS,     /* of all heads */
    PV_SIZE_DIRECT,      /* WIDTH where queries have no latent vector, else 0 */
} pv_size;

uint32_t pv_decoder_size(const pv_decoder *decoder, pv_size size);

typedef struct pv_role {
    const char *gguf, *huggingface; /* names; "%u" is the layer's number, a second one the expert's */
    bool per_layer, optional;
    size_t member;                  /* offset in pv_layer_weights or pv_weights */
    pv_size rows, cols;
    unsigned uses;                  /* pv_weight_use */
    pv_size whole, first;           /* a part of a fused tensor: rows (columns of a vector) that this one has, and where the part begins */
    enum { PV_LAYERS_ALL, PV_LAYERS_ATTENTION, PV_LAYERS_CONV, PV_LAYERS_DENSE, PV_LAYERS_EXPERTS } layers; /* that have it */
    uint8_t interleaved;            /* Hugging Face files hold it as every second row: 1: from the first on, 2: from the second on */
    bool experts;                   /* every expert has one; they stand one behind the other, in files as one tensor or as many */
    bool heads;                     /* every head of queries has one: a part of its stretch of `whole` rows */
    bool turned;                    /* the file holds each as [cols, rows] */
    bool stacked;                   /* GGUF files hold it as [heads, rows of a head, cols] */
    const char *unless;             /* left out where a GGUF file has this tensor */
} pv_role;

/* Roles that several architectures share. */
typedef struct pv_role_table {
    const pv_role *roles;
    size_t count;
} pv_role_table;

#define PV_MAX_ROLE_TABLES 8

typedef struct pv_architecture {
    const char *name;       /* general.architecture in GGUF */
    const char *class_name; /* "architectures" in config.json */
    const pv_role_table *tables[PV_MAX_ROLE_TABLES]; /* up to the first NULL */
    pv_rope_pairing gguf_pairing; /* how the converters to GGUF leave q and k */
    pv_norm norm;
    pv_activation activation;     /* where the file names none */
    bool fixed_activation;        /* whatever the file names */
    bool norm_less_one;           /* Hugging Face files hold the norms' weights less one; converters to GGUF add it */
    bool embed_by_width;          /* embeddings are multiplied by the root of the width */
    bool transposed;              /* Hugging Face files hold matrices as [in, out] */
    uint32_t feed_forward_widths; /* feed-forward width where the file names none, in widths; 0: it must */
    uint32_t window_every;        /* where the file has a window and no list: of so many layers the last sees everything; 0: none does */
    uint32_t no_rope_every;       /* where the file has no list: of so many layers the last goes without RoPE; 0: none does */
    double window_theta;          /* of layers with a window, where the file has none; 0: as all others */
    uint32_t scale_by_width_at;   /* GGUF files leave the query's scale out; with so many layers it follows from width / heads */
    bool conv;                    /* some layers have short convolutions */
    const char *prefix;           /* of Hugging Face names, which some files leave out */
    const char *inside;           /* the model is part of a larger one: where config.json has its settings; other parts are left alone */
    const char *const *inside_prefixes; /* what its tensors' names may begin with before the usual ones, up to NULL */
    const char *const *other_parts;     /* what names of tensors begin with that are not of this model, up to NULL */
    const struct pv_config_default *defaults; /* of its class in transformers, up to one without a name */
    bool experts;                 /* it is the architecture of this name with experts */
    bool experts_in_some;         /* layers may be without them */
    bool shared_expert;           /* every token has one more */
    bool routing_told;            /* the file says how experts are chosen and what their weights are multiplied by */
    bool experts_normalize;       /* where the file does not say */
    bool latent;                  /* attention over latent vectors */
    bool neighbours;              /* elements turn with their neighbours in Hugging Face files too */
    bool experts_transposed;      /* Hugging Face files hold the experts' matrices as [expert, in, out] */
    bool yarn_between_pairs;      /* YaRN's range need not end at whole pairs, where the file does not say */
} pv_architecture;

/* A role's name with the numbers of layer and expert in their places. */
void pv_role_name(const char *pattern, uint32_t layer, uint32_t expert, char out[128]);
/* Number i of the architecture's roles; NULL beyond the last. */
const pv_role *pv_architecture_role(const pv_architecture *architecture, size_t i);

/* NULL if it is not known. experts: in GGUF some names stand for models with experts and without. */
const pv_architecture *pv_architecture_find(const char *gguf_name, bool experts, const char *class_name);
/* "llama (LlamaForCausalLM), …" */
const char *pv_architecture_names(void);

#endif
